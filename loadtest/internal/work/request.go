package work

import (
	"strconv"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Request is what the head of a request over HTTP says of its body.
type Request struct {
	Step   int    // place in the script; Verification of none
	Method string // for Mcp-Method
	Name   string // of the tool or prompt, or the URI of the resource; empty for other methods
}

// HeaderName is Name as the value of Mcp-Name: in base64 where it could not stand in a header as it is (2026-07-28, Transports).
func (r Request) HeaderName() string { return mcp.HeaderValue(r.Name) }

// Client is how clients of a load test introduce themselves.
const Client = "erlmcp-loadtest"

const (
	head       = `{"jsonrpc":"2.0","id":`
	clientInfo = `{"name":"` + Client + `","version":"1"}`
)

// AppendInitialize appends the request that begins a session, as a line.
func AppendInitialize(dst []byte, id uint64) []byte {
	dst = strconv.AppendUint(append(dst, head...), id, 10)
	return append(dst, `,"method":"`+mcp.MethodInitialize+`","params":{"protocolVersion":"`+mcp.LatestSessionVersion+
		`","capabilities":{},"clientInfo":`+clientInfo+"}}\n"...)
}

// AppendInitialized appends the notification that follows the answer to it, as a line.
func AppendInitialized(dst []byte) []byte {
	return append(dst, `{"jsonrpc":"2.0","method":"`+mcp.MethodInitialized+`"}`+"\n"...)
}

// ID is the number of a request of a step that was due so many microseconds after an agent's epoch. It can be written in
// JSON without loss for a hundred days.
func ID(us int64, step int) uint64 { return uint64(us)<<8 | uint64(step) }

// OfID undoes ID.
func OfID(id uint64) (us int64, step int) { return int64(id >> 8), int(id & 0xff) }
