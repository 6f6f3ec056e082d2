package proxy

import (
	"net/http"
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/control"
)

// adminState is what an operator lets a node do while it is up, from all to nothing.
type adminState int

const (
	adminReady    adminState = iota
	adminDrained             // no new clients
	adminDisabled            // nothing new, not even for clients that it has
)

func (s adminState) String() string {
	return [...]string{adminReady: "ready", adminDrained: "drained", adminDisabled: "disabled"}[s]
}

// adminAPI is the commands of the admin listener, for those who have shown the token.
func adminAPI(b Balancer) http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, control.Answer(answer))
	}
	handle("/api/token", func(*http.Request) (any, error) { return nil, nil }) // it is right, or this is not reached
	for verb, to := range map[string]adminState{"drain": adminDrained, "disable": adminDisabled, "enable": adminReady} {
		handle("/api/nodes/{name}/"+verb, func(r *http.Request) (any, error) { return b.Administer(r.PathValue("name"), to) })
	}
	handle("/api/unban", ofSource(func(_ clientRequest, source netip.Prefix) (any, error) { return nil, b.Unban(source) }))
	return mux
}
