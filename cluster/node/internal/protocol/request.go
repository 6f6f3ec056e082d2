package protocol

import (
	"time"

	"github.com/erlmcp/erlmcp/cluster/node/internal/tools"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// request is a request being answered.
type request struct {
	*Server
	message
	params    params
	session   *Session
	later     Later
	batch     *Batch // it is part of; nil: it came alone
	stateless bool   // the era it belongs to
}

// answer appends the reply, unless it is deferred.
func (r *request) answer(dst []byte) []byte {
	if f, ok := r.prepare(); !ok {
		return appendError(dst, r.id, f)
	}
	method, _ := rawjson.String(r.method)
	if r.stateless {
		return r.answerStateless(dst, method)
	}
	return r.answerInSession(dst, method)
}

// prepare takes the parameters apart and finds out which era the request belongs to. When ok is false,
// f is the answer.
func (r *request) prepare() (f failure, ok bool) {
	if r.params, ok = parseParams(r.message.params); !ok {
		return invalidParams(`"params" must be an object`), false
	}
	m := parseMeta(r.params.meta)
	if len(m.version) == 0 {
		return f, true
	}
	version, ok := rawjson.String(m.version)
	switch {
	case !ok || len(version) > maxVersion:
		return invalidParams(`"` + mcp.MetaProtocolVersion + `" in "_meta" must be a version`), false
	case !mcp.Known(string(version)):
		return unsupportedVersion(r.versionList, m.version), false
	case mcp.EraOf(string(version)) == mcp.SessionEra:
		return f, true
	case rawjson.Kind(m.capabilities) != '{':
		return invalidParams(`"` + mcp.MetaClientCapabilities + `" is missing in "_meta"`), false
	}
	r.stateless = true
	return f, true
}

// maxVersion is how long the name of a protocol version may be, in bytes.
const maxVersion = 64

func (r *request) answerStateless(dst, method []byte) []byte {
	switch string(method) {
	case mcp.MethodDiscover:
		return r.discover(dst)
	case mcp.MethodListTools:
		return r.listTools(dst)
	case mcp.MethodCallTool:
		return r.callTool(dst)
	}
	return appendError(dst, r.id, unknownMethod(method))
}

func (r *request) answerInSession(dst, method []byte) []byte {
	switch string(method) {
	case mcp.MethodPing:
		return append(r.begin(dst), "}}"...)
	case mcp.MethodInitialize:
		return r.initialize(dst)
	case mcp.MethodListTools, mcp.MethodCallTool:
		switch {
		case !r.session.begun():
			return appendError(dst, r.id, notBegun)
		case string(method) == mcp.MethodListTools:
			return r.listTools(dst)
		default:
			return r.callTool(dst)
		}
	case mcp.MethodDiscover:
		if !r.session.begun() {
			return appendError(dst, r.id, notBegun)
		}
	}
	return appendError(dst, r.id, unknownMethod(method))
}

// notBegun answers what needs either a session or a request that stands for itself.
var notBegun = invalidParams(`no session has begun, and "` + mcp.MetaProtocolVersion + `" in "_meta" is not "` + mcp.Version20260728 + `"`)

// begin begins a reply with a result; "}}" ends it.
func (r *request) begin(dst []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, r.id...)
	dst = append(dst, `,"result":{`...)
	if r.stateless {
		dst = append(dst, r.complete...)
	}
	return dst
}

func (r *request) initialize(dst []byte) []byte {
	wanted, ok := rawjson.String(r.params.protocolVersion)
	switch {
	case !ok:
		return appendError(dst, r.id, invalidParams(`"protocolVersion" must be a string`))
	case r.session.begun():
		return appendError(dst, r.id, failure{code: mcp.CodeInvalidRequest, text: "the session has begun already"})
	}
	dst = append(r.begin(dst), `"protocolVersion":"`...)
	dst = append(dst, r.session.begin(string(wanted))...)
	dst = append(dst, `","capabilities":{"tools":{}},"serverInfo":`...)
	dst = append(dst, r.serverInfo...)
	return append(dst, "}}"...)
}

func (r *request) discover(dst []byte) []byte {
	dst = append(r.begin(dst), `"supportedVersions":`...)
	dst = append(dst, r.versionList...)
	dst = append(dst, `,"capabilities":{"tools":{}}`...)
	dst = append(dst, cacheable...)
	return append(dst, "}}"...)
}

func (r *request) listTools(dst []byte) []byte {
	if kind := rawjson.Kind(r.params.cursor); kind != 0 && kind != 'n' {
		return appendError(dst, r.id, invalidParams("the list has one page: there is no such cursor"))
	}
	dst = append(r.begin(dst), `"tools":`...)
	dst = append(dst, r.toolList...)
	if r.stateless {
		dst = append(dst, cacheable...)
	}
	return append(dst, "}}"...)
}

// cacheable ends a result that stays the same while the node runs.
const cacheable = `,"ttlMs":300000,"cacheScope":"public"`

func (r *request) callTool(dst []byte) []byte {
	name, ok := rawjson.String(r.params.name)
	if !ok {
		return appendError(dst, r.id, invalidParams(`"name" must be a string`))
	}
	switch rawjson.Kind(r.params.arguments) {
	case 0, 'n', '{':
	default:
		return appendError(dst, r.id, invalidParams(`"arguments" must be an object`))
	}
	start := len(dst)
	dst, delay, err := r.tools.AppendCall(r.begin(dst), string(name), r.params.arguments)
	if err != nil {
		return appendError(dst[:start], r.id, unknownTool(name))
	}
	dst = append(dst, "}}"...)
	if delay == 0 {
		return dst
	}
	return r.deferReply(dst, start, delay)
}

// deferReply hands dst[start:] to the connection to be sent after delay.
func (r *request) deferReply(dst []byte, start int, delay time.Duration) []byte {
	if r.later.Defer(Deferred{ID: r.id, Reply: dst[start:], After: delay, Batch: r.batch}) {
		if r.batch != nil {
			r.batch.waiting++
		}
		return dst[:start]
	}
	dst = tools.AppendFailure(r.begin(dst[:start]), "too many calls are asleep on this connection")
	return append(dst, "}}"...)
}
