package master

import (
	"net/http"
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
)

// controlHandler serves the control socket, which only the balancer's user can open.
func (m *master) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(method+" "+path, control.Answer(answer))
	}
	handle("GET", proxy.PathStats, func(*http.Request) (any, error) { return m.View().Stats, nil })
	handle("GET", proxy.PathToken, func(*http.Request) (any, error) { return m.token, nil })
	handle("POST", proxy.PathReload, func(*http.Request) (any, error) { return m.reload() })
	handle("GET", proxy.PathReload, func(*http.Request) (any, error) { return m.planReload() })
	handle("POST", proxy.PathStop, m.requestStop)
	for path, to := range map[string]admin.Setting{proxy.PathDrain: admin.Drained, proxy.PathDisable: admin.Disabled, proxy.PathEnable: admin.Ready} {
		handle("POST", path, func(r *http.Request) (any, error) { return m.Administer(r.PathValue("name"), to) })
	}
	handle("GET", proxy.PathBans, func(*http.Request) (any, error) { return m.bans(), nil })
	handle("POST", proxy.PathBans, proxy.OfSource(func(q proxy.ClientRequest, source netip.Prefix) (any, error) { return m.ban(source, q.For) }))
	handle("POST", proxy.PathUnban, proxy.OfSource(func(_ proxy.ClientRequest, source netip.Prefix) (any, error) { return nil, m.Unban(source) }))
	handle("POST", proxy.PathExplain, proxy.OfSource(func(q proxy.ClientRequest, source netip.Prefix) (any, error) {
		addr, err := netip.ParseAddr(q.Client)
		if err != nil {
			addr = source.Addr() // any of its addresses
		}
		return m.explain(addr.Unmap(), source), nil
	}))
	handle("POST", proxy.PathTag, func(r *http.Request) (any, error) {
		var q proxy.TagRequest
		if err := control.Read(r, &q); err != nil {
			return nil, err
		}
		return m.explainTag(q)
	})
	return mux
}

func (m *master) requestStop(r *http.Request) (any, error) {
	var q proxy.StopRequest
	if err := control.Read(r, &q); err != nil {
		return nil, err
	}
	select {
	case m.stops <- q.AtOnce:
		return nil, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// Administer takes a node out of service, or puts it back.
func (m *master) Administer(name string, to admin.Setting) (*proxy.NodeStats, error) {
	if err := m.members.administer(name, to); err != nil {
		return nil, &control.Error{Status: http.StatusNotFound, Code: "node", Message: err.Error(), Exit: 2}
	}
	s := proxy.Stats{Nodes: m.members.stats()}
	return s.Node(name), nil
}
