package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
)

// Paths of the control socket. Client is the other end.
const (
	pathStats   = "/v1/stats"
	pathReload  = "/v1/reload"
	pathStop    = "/v1/stop"
	pathDrain   = "/v1/nodes/{name}/drain"
	pathDisable = "/v1/nodes/{name}/disable"
	pathEnable  = "/v1/nodes/{name}/enable"
	pathBans    = "/v1/bans"
	pathUnban   = "/v1/unban"
	pathExplain = "/v1/explain"
	pathTag     = "/v1/explain/tag"
	pathToken   = "/v1/token"
)

// stopRequest asks the balancer to end.
type stopRequest struct {
	AtOnce bool `json:"at_once"`
}

// clientRequest names a client, and for how long where that matters.
type clientRequest struct {
	Client string        `json:"client"`
	For    time.Duration `json:"for,omitempty"` // nanoseconds; 0 is limits.ban.for
}

// controlHandler serves the control socket, which only the balancer's user can open.
func (m *master) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := answer(r)
			if err != nil {
				control.Fail(w, err)
				return
			}
			control.Reply(w, http.StatusOK, v)
		})
	}
	handle("GET", pathStats, func(*http.Request) (any, error) { return m.stats(), nil })
	handle("GET", pathToken, func(*http.Request) (any, error) { return m.token, nil })
	handle("POST", pathReload, func(*http.Request) (any, error) { return m.reload() })
	handle("GET", pathReload, func(*http.Request) (any, error) { return m.planReload() })
	handle("POST", pathStop, m.requestStop)
	for path, to := range map[string]adminState{pathDrain: adminDrained, pathDisable: adminDisabled, pathEnable: adminReady} {
		handle("POST", path, func(r *http.Request) (any, error) { return m.administer(r.PathValue("name"), to) })
	}
	handle("GET", pathBans, func(*http.Request) (any, error) { return m.bans(), nil })
	handle("POST", pathBans, func(r *http.Request) (any, error) {
		q, source, err := readSource(r)
		if err != nil {
			return nil, err
		}
		return m.ban(source, q.For)
	})
	handle("POST", pathUnban, func(r *http.Request) (any, error) {
		_, source, err := readSource(r)
		if err != nil {
			return nil, err
		}
		return nil, m.unban(source)
	})
	handle("POST", pathExplain, func(r *http.Request) (any, error) {
		q, source, err := readSource(r)
		if err != nil {
			return nil, err
		}
		addr, err := netip.ParseAddr(q.Client)
		if err != nil {
			addr = source.Addr() // any of its addresses
		}
		return m.explain(addr.Unmap(), source), nil
	})
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

func (m *master) administer(name string, to adminState) (any, error) {
	if err := m.members.administer(name, to); err != nil {
		return nil, &control.Error{Status: http.StatusNotFound, Code: "node", Message: err.Error(), Exit: 2}
	}
	s := Stats{Nodes: m.members.stats()}
	return s.Node(name), nil
}

// readSource reads a request about a client. Its source is an IPv4 address or the /64 of an IPv6
// address, see sourceOf.
func readSource(r *http.Request) (clientRequest, netip.Prefix, error) {
	var q clientRequest
	if err := control.Read(r, &q); err != nil {
		return q, netip.Prefix{}, err
	}
	source, err := sourceOf(q.Client)
	if err != nil {
		return q, source, &control.Error{Status: http.StatusBadRequest, Code: "client", Message: err.Error(), Exit: 2}
	}
	return q, source, nil
}

// sourceOf is what a client counts as: its IPv4 address as a /32, or the /64 of its IPv6 address.
// Either may also be given as that prefix.
func sourceOf(client string) (netip.Prefix, error) {
	p, err := ParsePrefix(client)
	if err != nil {
		return p, fmt.Errorf("%q is not an IP address", client)
	}
	bits := 64
	if p.Addr().Is4() {
		bits = 32
	}
	if p.Bits() < bits {
		return p, fmt.Errorf("%s is more than one client: name an IPv4 address or an IPv6 /64", client)
	}
	return netip.PrefixFrom(p.Addr(), bits).Masked(), nil
}

// sourceText prints a source as people name it: an IPv4 address without its length.
func sourceText(source netip.Prefix) string {
	if source.Addr().Is4() {
		return source.Addr().String()
	}
	return source.String()
}
