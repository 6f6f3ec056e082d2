package proxy

import (
	"net/http"
	"net/netip"

	"github.com/erlmcp/erlmcp/internal/control"
)

// controlHandler serves the control socket, which only the balancer's user can open.
func (m *master) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(method+" "+path, control.Answer(answer))
	}
	handle("GET", pathStats, func(*http.Request) (any, error) { return m.View().Stats, nil })
	handle("GET", pathToken, func(*http.Request) (any, error) { return m.token, nil })
	handle("POST", pathReload, func(*http.Request) (any, error) { return m.reload() })
	handle("GET", pathReload, func(*http.Request) (any, error) { return m.planReload() })
	handle("POST", pathStop, m.requestStop)
	for path, to := range map[string]adminState{pathDrain: adminDrained, pathDisable: adminDisabled, pathEnable: adminReady} {
		handle("POST", path, func(r *http.Request) (any, error) { return m.Administer(r.PathValue("name"), to) })
	}
	handle("GET", pathBans, func(*http.Request) (any, error) { return m.bans(), nil })
	handle("POST", pathBans, ofSource(func(q clientRequest, source netip.Prefix) (any, error) { return m.ban(source, q.For) }))
	handle("POST", pathUnban, ofSource(func(_ clientRequest, source netip.Prefix) (any, error) { return nil, m.Unban(source) }))
	handle("POST", pathExplain, ofSource(func(q clientRequest, source netip.Prefix) (any, error) {
		addr, err := netip.ParseAddr(q.Client)
		if err != nil {
			addr = source.Addr() // any of its addresses
		}
		return m.explain(addr.Unmap(), source), nil
	}))
	handle("POST", pathTag, func(r *http.Request) (any, error) {
		var q tagRequest
		if err := control.Read(r, &q); err != nil {
			return nil, err
		}
		return m.explainTag(q)
	})
	return mux
}

func (m *master) requestStop(r *http.Request) (any, error) {
	var q stopRequest
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
func (m *master) Administer(name string, to adminState) (*NodeStats, error) {
	if err := m.members.administer(name, to); err != nil {
		return nil, &control.Error{Status: http.StatusNotFound, Code: "node", Message: err.Error(), Exit: 2}
	}
	s := Stats{Nodes: m.members.stats()}
	return s.Node(name), nil
}
