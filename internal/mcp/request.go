package mcp

import "strconv"

// The requests this program sends, each appended as one line. They allocate only
// to grow dst. tool and version go in as they are: plain ASCII without quotes.

const (
	head = `{"jsonrpc":"2.0","id":`

	// meta is what the stateless era requires of every request (2026-07-28, Base
	// Protocol, Requests).
	meta = `"_meta":{"` + MetaProtocolVersion + `":"` + Version20260728 +
		`","` + MetaClientInfo + `":{"name":"erlmcp","version":"1"},"` + MetaClientCapabilities + `":{}}`
)

// AppendPing appends a session era ping, which servers answer without a session
// too (2025-11-25, Utilities, Ping). The stateless era has none.
func AppendPing(dst []byte, id uint64) []byte {
	dst = strconv.AppendUint(append(dst, head...), id, 10)
	return append(dst, `,"method":"ping"}`+"\n"...)
}

// AppendDiscover appends a stateless server/discover, which every server of
// 2026-07-28 answers, and any other with CodeMethodNotFound.
func AppendDiscover(dst []byte, id uint64) []byte {
	dst = strconv.AppendUint(append(dst, head...), id, 10)
	return append(dst, `,"method":"server/discover","params":{`+meta+"}}\n"...)
}

// AppendToolCall appends a call of a tool without arguments, in the form of the
// given era. In the session era the server must have been initialized.
func AppendToolCall(dst []byte, id uint64, tool string, era Era) []byte {
	dst = strconv.AppendUint(append(dst, head...), id, 10)
	dst = append(dst, `,"method":"tools/call","params":{"name":"`...)
	dst = append(dst, tool...)
	dst = append(dst, `","arguments":{}`...)
	if era == StatelessEra {
		dst = append(dst, ","+meta...)
	}
	return append(dst, "}}\n"...)
}
