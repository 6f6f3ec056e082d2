package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/nearest"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Try asks each step of a script once and says which of them does not work, and why.
func Try(ctx context.Context, e target.Endpoint, script *work.Script) *Trouble {
	steps := script.Work().Steps
	if len(steps) == 0 {
		return nil
	}
	s, err := enter(ctx, e, script.Work().Era, netip.Addr{})
	if err != nil {
		return scrubbed(e, explain(ctx, e, answer{}, err))
	}
	defer s.close()
	t := trial{endpoint: e, speaker: s, era: script.Work().Era, lists: make(map[string][]offer)}
	for i := range steps {
		if trouble := t.step(ctx, script, i); trouble != nil {
			return scrubbed(e, trouble)
		}
	}
	return nil
}

// trial is one under way.
type trial struct {
	endpoint target.Endpoint
	speaker  speaker
	era      mcp.Era
	lists    map[string][]offer // what the server says that it has, by the method that lists it
}

// offer is a tool, prompt or resource of a server.
type offer struct {
	name     string
	required []string // arguments of a tool
}

// kinds are what steps name, by their method.
var kinds = map[string]struct{ what, list, member, key, flag string }{
	mcp.MethodCallTool: {"tool", mcp.MethodListTools, "tools", "name", "--tool"},
	"prompts/get":      {"prompt", "prompts/list", "prompts", "name", "the scenario's name"},
	"resources/read":   {"resource", "resources/list", "resources", "uri", "the scenario's uri"},
}

func (t *trial) step(ctx context.Context, script *work.Script, i int) *Trouble {
	id := work.ID(0, i)
	line, about := script.AppendStep(nil, i, id)
	kind, named := kinds[about.Method]
	offers := t.offers(ctx, kind.list, kind.member, kind.key)
	known := false
	var required []string
	for _, o := range offers {
		if o.name == about.Name {
			known, required = true, o.required
		}
	}
	if named && kind.what != "resource" && len(offers) > 0 && !known { // resources can be of templates
		return missing(kind.what, kind.flag, about.Name, offers)
	}
	limited, cancel := context.WithTimeoutCause(ctx, callPatience, fmt.Errorf("%s: no answer within %s", script.StepName(i), callPatience))
	defer cancel()
	got, err := t.speaker.ask(limited, id, line, about)
	if err != nil {
		return explain(ctx, t.endpoint, got, err)
	}
	r, err := mcp.ParseReply(got.line)
	switch {
	case err != nil:
		return explain(ctx, t.endpoint, got, &unexpected{got})
	case refusal(got) != ask.CauseReply:
		return refuses(got.line, refusal(got))
	case r.Err == nil && !failed(r.Result):
		return nil
	case kind.what == "resource" && len(offers) > 0 && !known:
		trouble := missing(kind.what, kind.flag, about.Name, offers)
		trouble.Text += ": " + ask.Saying(got.line)
		return trouble
	case named:
		fix := "see to what it says"
		if kind.what == "tool" {
			fix = "give arguments that it takes (--args)"
		}
		if len(required) > 0 {
			fix += ": it needs " + ask.Clean(strings.Join(required, ", "))
		}
		return asked(fix, "the %s %q answers with an error: %s", kind.what, ask.Clean(about.Name), ask.Saying(got.line)).needing("an answer")
	}
	return asked("see to what it says", "%s is answered with an error: %s", ask.Clean(about.Method), ask.Saying(got.line)).needing("an answer")
}

// failed reports whether the result of a tool says that it could not do its work.
func failed(result []byte) bool {
	var r struct {
		Failed bool `json:"isError"`
	}
	return json.Unmarshal(result, &r) == nil && r.Failed
}

// missing says that a server does not have what a step names.
func missing(what, flag, name string, offers []offer) *Trouble {
	const most = 8
	names := make([]string, len(offers))
	for i, o := range offers {
		names[i] = o.name
	}
	near := nearest.Find(name, names)
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("and %d more", len(offers)-most))
	}
	fix := "name one of its own (" + flag + "): " + ask.Clean(strings.Join(names, ", "))
	if near != "" {
		fix = "did you mean " + ask.Clean(near) + "? It has " + ask.Clean(strings.Join(names, ", "))
	}
	return asked(fix, "the server has no %s %q", what, ask.Clean(name)).needing("one that it has")
}

// maxPages bounds how many pages of a list are read.
const maxPages = 20

// offers lists what a server has, as far as it says so.
func (t *trial) offers(ctx context.Context, method, member, key string) []offer {
	if method == "" {
		return nil
	}
	if have, ok := t.lists[method]; ok {
		return have
	}
	var all []offer
	cursor := ""
	for page := range maxPages {
		offers, next := t.page(ctx, method, member, key, uint64(page)+1, cursor)
		all = append(all, offers...)
		if cursor = next; cursor == "" {
			break
		}
	}
	t.lists[method] = all
	return all
}

func (t *trial) page(ctx context.Context, method, member, key string, id uint64, cursor string) (offers []offer, next string) {
	ctx, cancel := within(ctx)
	defer cancel()
	got, err := t.speaker.ask(ctx, id, listRequest(t.era, id, method, cursor), work.Request{Method: method})
	if err != nil {
		return nil, ""
	}
	var reply struct {
		Result map[string]json.RawMessage `json:"result"`
	}
	if json.Unmarshal(got.line, &reply) != nil {
		return nil, ""
	}
	var list []struct {
		Name   string `json:"name"`
		URI    string `json:"uri"`
		Schema struct {
			Required []string `json:"required"`
		} `json:"inputSchema"`
	}
	if json.Unmarshal(reply.Result[member], &list) != nil {
		return nil, ""
	}
	for _, o := range list {
		name := o.Name
		if key == "uri" {
			name = o.URI
		}
		offers = append(offers, offer{name, o.Schema.Required})
	}
	_ = json.Unmarshal(reply.Result["nextCursor"], &next) // none ends the list
	return offers, next
}

// listRequest is a request for a page of a list.
func listRequest(era mcp.Era, id uint64, method, cursor string) []byte {
	params := make(map[string]any)
	if cursor != "" {
		params["cursor"] = cursor
	}
	if era == mcp.StatelessEra {
		params["_meta"] = map[string]any{
			mcp.MetaProtocolVersion: mcp.Version20260728, mcp.MetaClientCapabilities: struct{}{},
			mcp.MetaClientInfo: map[string]string{"name": "erlmcp", "version": "1"},
		}
	}
	text, _ := json.Marshal(params) // strings only
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"jsonrpc":"2.0","id":%s,"method":%q,"params":%s}`+"\n", strconv.FormatUint(id, 10), method, text)
	return line.Bytes()
}
