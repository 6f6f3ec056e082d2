package mcp

// Revisions of the protocol (https://modelcontextprotocol.io/specification/<revision>).
const (
	Version20241105 = "2024-11-05" // HTTP+SSE
	Version20250326 = "2025-03-26" // Streamable HTTP; the only one with batches
	Version20250618 = "2025-06-18"
	Version20251125 = "2025-11-25" // the last with sessions
	Version20260728 = "2026-07-28" // stateless

	// LatestSessionVersion is the newest that initialize can negotiate.
	LatestSessionVersion = Version20251125
	// LatestVersion is the newest of all.
	LatestVersion = Version20260728
)

// Versions lists the revisions, newest first. Read only.
var Versions = []string{Version20260728, Version20251125, Version20250618, Version20250326, Version20241105}

// Era is one of the two kinds of the protocol.
type Era int

// The session era starts with initialize and keeps a session; in the stateless
// era every request says in _meta what initialize used to negotiate.
const (
	SessionEra Era = iota
	StatelessEra
)

func (e Era) String() string {
	if e == StatelessEra {
		return "stateless"
	}
	return "session"
}

// EraOf returns the era of a revision. Revisions are dates and compare as text;
// one that is unknown is taken by its date. What is no date is of the session
// era: nobody is obliged to anything by it.
func EraOf(version string) Era {
	if isDate(version) && version >= Version20260728 {
		return StatelessEra
	}
	return SessionEra
}

// isDate reports whether s has the form of a date.
func isDate(s string) bool {
	const form = "0000-00-00"
	if len(s) != len(form) {
		return false
	}
	for i := range len(form) {
		if digit := s[i] >= '0' && s[i] <= '9'; digit != (form[i] == '0') || !digit && s[i] != '-' {
			return false
		}
	}
	return true
}

// Known reports whether version is one of Versions.
func Known(version string) bool {
	for _, v := range Versions {
		if v == version {
			return true
		}
	}
	return false
}
