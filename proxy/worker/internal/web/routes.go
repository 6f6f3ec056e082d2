package web

import (
	"bytes"
	"slices"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
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
func newRoutes(list []proxy.Route) []route {
	kinds := map[string]kind{proxy.RouteHTTP: plainHTTP, proxy.RouteWebSocket: webSocket, proxy.RouteSSE: legacySSE}
	routes := make([]route, len(list))
	for i, r := range list {
		routes[i] = route{[]byte(proxy.TrimSlash(r.Prefix)), kinds[r.To]}
	}
	slices.SortStableFunc(routes, func(a, b route) int { return len(b.prefix) - len(a.prefix) })
	return routes
}

// kindOf is where requests for path go.
func (w *Frontend) kindOf(path []byte) kind {
	if r := w.routeOf(path); r != nil {
		return r.kind
	}
	return plainHTTP
}

// endpointsOf lists the paths at which nodes have their MCP endpoint, nothing if all have the same.
func endpointsOf(nodes []wire.NodeSlot) (paths []string) {
	for _, n := range nodes {
		if path := n.Node.MCPPath(); !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if len(paths) < 2 {
		return nil
	}
	return paths
}

// appendPath appends the path by which the port knows what is asked for: where nodes have their MCP endpoint at
// different paths, each of these is the endpoint of whichever node gets the request.
func (w *Frontend) appendPath(dst []byte, p *port, path []byte) []byte {
	for _, endpoint := range w.paths {
		if string(path) == endpoint {
			return append(dst, p.path...)
		}
	}
	return append(dst, path...)
}

// routeOf finds the route of path, nil if there is none.
func (w *Frontend) routeOf(path []byte) *route {
	for i := range w.routes {
		r := &w.routes[i]
		if bytes.HasPrefix(path, r.prefix) && (len(path) == len(r.prefix) || path[len(r.prefix)] == '/') {
			return r
		}
	}
	return nil
}
