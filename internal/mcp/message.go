package mcp

import "encoding/json"

// Envelope is any JSON-RPC 2.0 message: a request (Method and ID), a
// notification (Method), or a reply (ID and either Result or Error). For readers
// in no hurry; Scanner, Inspector and ParseReply serve those that are.
type Envelope struct {
	JSONRPC string          `json:"jsonrpc"` // "2.0"
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *Error          `json:"error,omitempty"`
}
