// Package mcp holds the wire facts of the Model Context Protocol that a client,
// a server and a balancer between them share: revisions, error codes, header
// names, canned requests, and readers fast enough for the balancer's hot path.
//
// The messages are JSON-RPC 2.0 (https://www.jsonrpc.org/specification). Over
// TCP they travel as in MCP's stdio transport, one message a line, ended by a
// newline and containing none.
package mcp
