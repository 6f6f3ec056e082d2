// Package node is the embedded MCP server: one primary process, which serves HTTP and watches over k
// workers, which serve TCP.
//
//	        ┌ primary ──── HTTP: Streamable HTTP and WebSocket; legacy SSE; health
//	client ─┤    │ tally: connections, in shared memory
//	        └ worker × k ─ TCP: newline-delimited JSON-RPC on an event loop
//
// All transports offer the same tools in both eras of MCP.
package node
