package protocol

import (
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// message is one JSON-RPC message. Its fields are raw JSON values, empty when absent.
type message struct {
	id     []byte
	method []byte // a string
	params []byte // an object
}

// kind is what is to be done with a message.
type kind uint8

const (
	kindInvalid      kind = iota // answered with an error
	kindRequest                  // answered
	kindNotification             // never answered
	kindResponse                 // nothing was asked: dropped
)

// maxID is how long an identifier may be, in bytes of JSON. It bounds what a call that sleeps holds.
const maxID = 1 << 10

// parse takes a valid JSON value apart. problem says what is wrong with an invalid message; its id is set
// when the error can name it. As in encoding/json, the last of several members of one name counts.
func parse(value []byte) (m message, k kind, problem string) {
	members, ok := rawjson.Object(value)
	if !ok {
		return m, kindInvalid, "a message must be an object"
	}
	var version []byte
	var outcome bool
	for key, v, ok := members.Next(); ok; key, v, ok = members.Next() {
		name, _ := rawjson.String(key)
		switch string(name) {
		case "jsonrpc":
			version = v
		case "id":
			m.id = v
		case "method":
			m.method = v
		case "params":
			m.params = v
		case "result", "error":
			outcome = true
		}
	}

	switch id := rawjson.Kind(m.id); {
	case id != 0 && id != '"' && id != '0':
		m.id, problem = nil, `"id" must be a string or a number`
	case len(m.id) > maxID:
		m.id, problem = nil, `"id" is too long`
	case len(m.method) == 0 && outcome:
		return m, kindResponse, ""
	case len(m.method) == 0:
		problem = `"method" is missing`
	case rawjson.Kind(m.method) != '"':
		problem = `"method" must be a string`
	}
	if v, _ := rawjson.String(version); string(v) != "2.0" {
		problem = `"jsonrpc" must be "2.0"`
	}
	switch {
	case problem != "":
		return m, kindInvalid, problem
	case len(m.id) == 0:
		return m, kindNotification, ""
	default:
		return m, kindRequest, ""
	}
}

// params are the raw JSON values of the parameters any method knows; absent ones are empty.
type params struct {
	meta            []byte
	name, arguments []byte // tools/call
	cursor          []byte // tools/list
	protocolVersion []byte // initialize
	requestID       []byte // notifications/cancelled
}

// parseParams takes the parameters of a message apart. ok is false when they are not an object; null
// counts as none.
func parseParams(value []byte) (p params, ok bool) {
	if kind := rawjson.Kind(value); kind == 0 || kind == 'n' {
		return p, true
	}
	ok = rawjson.Take(value, rawjson.Wanted{Name: "_meta", Into: &p.meta}, rawjson.Wanted{Name: "name", Into: &p.name},
		rawjson.Wanted{Name: "arguments", Into: &p.arguments}, rawjson.Wanted{Name: "cursor", Into: &p.cursor},
		rawjson.Wanted{Name: "protocolVersion", Into: &p.protocolVersion}, rawjson.Wanted{Name: "requestId", Into: &p.requestID})
	return p, ok
}

// meta are the raw JSON values of the members of _meta that say what a request of the stateless era is
// about; absent ones are empty.
type meta struct {
	version, capabilities []byte
}

func parseMeta(value []byte) (m meta) {
	rawjson.Take(value, rawjson.Wanted{Name: mcp.MetaProtocolVersion, Into: &m.version},
		rawjson.Wanted{Name: mcp.MetaClientCapabilities, Into: &m.capabilities})
	return m
}
