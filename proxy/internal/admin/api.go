package admin

import (
	"net/http"
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

// Setting is what an operator lets a node do while it is up, from all to nothing.
type Setting int

// The settings.
const (
	Ready    Setting = iota
	Drained          // no new clients
	Disabled         // nothing new, not even for clients that it has
)

func (s Setting) String() string {
	return [...]string{Ready: "ready", Drained: "drained", Disabled: "disabled"}[s]
}

// adminAPI is the commands of the admin listener, for those who have shown the token.
func adminAPI(b Balancer) http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, control.Answer(answer))
	}
	handle("/api/token", func(*http.Request) (any, error) { return nil, nil }) // it is right, or this is not reached
	for verb, to := range map[string]Setting{"drain": Drained, "disable": Disabled, "enable": Ready} {
		handle("/api/nodes/{name}/"+verb, func(r *http.Request) (any, error) { return b.Administer(r.PathValue("name"), to) })
	}
	handle("/api/unban", proxy.OfSource(func(_ proxy.ClientRequest, source netip.Prefix) (any, error) { return nil, b.Unban(source) }))
	return mux
}
