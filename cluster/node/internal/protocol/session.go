package protocol

import (
	"slices"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Session is what a connection has agreed upon by initialize. The zero Session has not begun.
type Session struct {
	version uint8 // index in mcp.Versions; the first there is the stateless one, so 0 is none
}

func (ss *Session) begun() bool { return ss.version > 0 }

// begin agrees on a version: what the client wants or else the newest.
func (ss *Session) begin(wanted string) (agreed string) {
	if !mcp.Known(wanted) || mcp.EraOf(wanted) != mcp.SessionEra {
		wanted = mcp.LatestSessionVersion
	}
	ss.version = uint8(slices.Index(mcp.Versions, wanted))
	return wanted
}

// allowsBatches reports whether a line may hold an array of messages: one version does.
func (ss *Session) allowsBatches() bool {
	return mcp.Versions[ss.version] == batching
}

const batching = mcp.Version20250326
