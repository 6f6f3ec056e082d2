package proxy

import (
	"bytes"
	"slices"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// kind is what a route leads to.
type kind uint8

const (
	plainHTTP kind = iota
	webSocket
	legacySSE
)

func (k kind) transport() board.Transport {
	if k == legacySSE {
		return board.SSE
	}
	return board.HTTP
}

// route is a Route, ready for use.
type route struct {
	prefix []byte // without a slash at its end
	kind   kind
}

// newRoutes orders routes by length, the longest first.
func newRoutes(list []Route) []route {
	kinds := map[string]kind{RouteHTTP: plainHTTP, RouteWebSocket: webSocket, RouteSSE: legacySSE}
	routes := make([]route, len(list))
	for i, r := range list {
		routes[i] = route{[]byte(trimSlash(r.Prefix)), kinds[r.To]}
	}
	slices.SortStableFunc(routes, func(a, b route) int { return len(b.prefix) - len(a.prefix) })
	return routes
}

// kindOf is where requests for path go.
func (f *frontend) kindOf(path []byte) kind {
	if r := f.routeOf(path); r != nil {
		return r.kind
	}
	return plainHTTP
}

// routeOf finds the route of path, nil if there is none.
func (f *frontend) routeOf(path []byte) *route {
	for i := range f.routes {
		r := &f.routes[i]
		if bytes.HasPrefix(path, r.prefix) && (len(path) == len(r.prefix) || path[len(r.prefix)] == '/') {
			return r
		}
	}
	return nil
}
