package mcp

import (
	"encoding/base64"
	"strings"
)

// HTTP header names, in Go's canonical form. Names ignore case on the wire,
// values do not.
const (
	HeaderProtocolVersion = "Mcp-Protocol-Version"
	HeaderSessionID       = "Mcp-Session-Id" // session era: visible ASCII, 0x21…0x7E
	HeaderMethod          = "Mcp-Method"     // stateless era: the request's method
	HeaderName            = "Mcp-Name"       // stateless era: tool, prompt or resource asked for
)

// A header value that is not safe ASCII is the base64 of its UTF-8 between these
// (2026-07-28, Transports).
const (
	HeaderBase64Prefix = "=?base64?"
	HeaderBase64Suffix = "?="
)

// HeaderValue is a text as the value of a header: in base64 where it is not plain ASCII, has space at an end, or looks
// as if it were in base64 already.
func HeaderValue(text string) string {
	plain := strings.TrimSpace(text) == text && !strings.HasPrefix(text, HeaderBase64Prefix)
	for i := range len(text) {
		plain = plain && text[i] >= ' ' && text[i] <= '~'
	}
	if plain {
		return text
	}
	return HeaderBase64Prefix + base64.StdEncoding.EncodeToString([]byte(text)) + HeaderBase64Suffix
}

// Keys of _meta in a stateless request; MetaServerInfo is in results.
const (
	MetaProtocolVersion    = "io.modelcontextprotocol/protocolVersion"
	MetaClientInfo         = "io.modelcontextprotocol/clientInfo"
	MetaClientCapabilities = "io.modelcontextprotocol/clientCapabilities"
	MetaServerInfo         = "io.modelcontextprotocol/serverInfo"
)

// Methods that this program itself sends or answers.
const (
	MethodInitialize  = "initialize"
	MethodInitialized = "notifications/initialized"
	MethodPing        = "ping" // session era
	MethodDiscover    = "server/discover"
	MethodListen      = "subscriptions/listen"
	MethodListTools   = "tools/list"
	MethodCallTool    = "tools/call"
)
