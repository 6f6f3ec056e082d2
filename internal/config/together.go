package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// defaultHTTPS is where TLS is spoken once there is a certificate.
const defaultHTTPS = ":8443"

// fill gives sections what they take from others where nothing is said, and makes paths absolute.
func (c *Config) fill() {
	for _, p := range c.paths() {
		if *p.value != "" && !filepath.IsAbs(*p.value) {
			*p.value = filepath.Join(c.directory(p.key), *p.value)
		}
	}
	c.Cluster.Nodes, c.LB.Nodes = topology.Complete(c.Cluster.Nodes), topology.Complete(c.LB.Nodes)
	if len(c.LB.Nodes) == 0 && c.LB.NodesFrom == "" {
		c.LB.Nodes = c.Cluster.Nodes
		c.origins["lb.nodes"] = Origin{Name: "cluster.nodes"}
	}
	if c.LB.TLS.Cert != "" && c.LB.Listen.HTTPS == "" {
		c.LB.Listen.HTTPS = defaultHTTPS
		c.origins["lb.listen.https"] = Origin{Name: "lb.tls.cert"}
	}
	if c.LB.Checks.GiveUp == 0 && c.Cluster.Runtime == cluster.RuntimeEmbedded && slices.Equal(c.LB.Nodes, c.Cluster.Nodes) {
		c.LB.Checks.GiveUp = c.LB.Checks.Timeout // its nodes are never too busy to answer: one that is silent is frozen
		c.origins["lb.checks.give_up"] = Origin{Name: "cluster.runtime"}
	}
	if c.Cluster.NodeMaxConnections == 0 {
		c.Cluster.NodeMaxConnections = c.LB.NodeCap()
		c.origins["cluster.node_max_connections"] = Origin{Name: "lb.max_connections"}
	}
	if _, said := c.origins["loadtest.target"]; !said {
		c.followListeners()
	}
}

// followListeners has the load test go where clients of the balancer go: over TCP, else over HTTP.
func (c *Config) followListeners() {
	listen, key, form := c.LB.Listen.TCP, "lb.listen.tcp", "%s"
	switch {
	case listen == Default().LB.Listen.TCP:
		return
	case listen == "" && c.LB.Listen.HTTP != "":
		listen, key, form = c.LB.Listen.HTTP, "lb.listen.http", "http://%s/mcp"
	case listen == "":
		listen, key, form = c.LB.Listen.HTTPS, "lb.listen.https", "https://%s/mcp"
	}
	if at := reachable(listen); at != "" {
		c.Loadtest.Target = fmt.Sprintf(form, at)
		c.origins["loadtest.target"] = Origin{Name: key}
	}
}

// reachable is where a client on this machine finds a listener; "" when that cannot be known before.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return ""
	}
	if at, err := netip.ParseAddr(host); host == "" || err == nil && at.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// pathKey is a key that names a file or a directory.
type pathKey struct {
	key   string
	value *string
}

func (c *Config) paths() []pathKey {
	list := []pathKey{
		{"cluster.erlang.root", &c.Cluster.Erlang.Root},
		{"cluster.erlang.cookie_file", &c.Cluster.Erlang.CookieFile},
		{"cluster.command.dir", &c.Cluster.Command.Dir},
		{"cluster.logs.dir", &c.Cluster.Logs.Dir},
		{"lb.sticky.key_file", &c.LB.Sticky.KeyFile},
		{"lb.nodes_from", &c.LB.NodesFrom},
		{"lb.tls.cert", &c.LB.TLS.Cert},
		{"lb.tls.key", &c.LB.TLS.Key},
		{"lb.node_tls.ca", &c.LB.NodeTLS.CA},
		{"lb.node_tls.cert", &c.LB.NodeTLS.Cert},
		{"lb.node_tls.key", &c.LB.NodeTLS.Key},
		{"lb.checks.headers_file", &c.LB.Checks.HeadersFile},
		{"loadtest.token_file", &c.Loadtest.TokenFile},
		{"loadtest.ca", &c.Loadtest.CA},
		{"loadtest.scenario", &c.Loadtest.Scenario},
	}
	if c.LB.AccessLog.File != proxy.StandardOutput {
		list = append(list, pathKey{"lb.access_log.file", &c.LB.AccessLog.File})
	}
	return list
}

// directory is what the relative path at key is relative to: the directory of the file it stands in, or
// else, as for what was read from a pipe, Options.Dir. Daemons have another working directory, so no path stays relative.
func (c *Config) directory(key string) string {
	dir := c.dir
	if o := c.origins[key]; o.Line > 0 && o.Name != c.once {
		dir = filepath.Dir(o.Name)
	}
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// validateTogether checks what no section can check alone.
func (c *Config) validateTogether(p *problems) {
	c.validateStarted(p)
	c.validatePorts(p, "cluster.nodes", c.Cluster.Nodes)
	if !slices.Equal(c.LB.Nodes, c.Cluster.Nodes) {
		c.validatePorts(p, "lb.nodes", c.LB.Nodes)
	}
}

// validateStarted checks that the nodes of the cluster can be what is said of them: they are started here, and those
// that are this program serve their endpoint at one path, without TLS.
func (c *Config) validateStarted(p *problems) {
	embedded := c.Cluster.Runtime == cluster.RuntimeEmbedded
	for i, n := range c.Cluster.Nodes {
		bad := func(key, format string, args ...any) {
			path := fmt.Sprintf("cluster.nodes[%d].%s", i, key)
			p.add(c.nearestOrigin(path), path, format, args...)
		}
		switch {
		case n.IsService():
			bad("host", "%s is a service in DNS, but the nodes of the cluster are started here: write an address of this machine, or put the service into lb.nodes", n.Host)
		case embedded && n.TLS():
			bad("url", "embedded nodes do not speak TLS: write http: %d instead of it, and TLS for clients into lb.tls", n.HTTP)
		case embedded && n.MCPPath() != topology.DefaultPath:
			key := "path"
			if _, said := c.origins[fmt.Sprintf("cluster.nodes[%d].path", i)]; !said && n.URL != "" {
				key = "url"
			}
			bad(key, "embedded nodes serve MCP at %s, not at %s: leave the path out", topology.DefaultPath, n.Path)
		}
	}
}

// validatePorts checks that the balancer does not listen where nodes do; key is of their list.
func (c *Config) validatePorts(p *problems, key string, nodes []topology.Node) {
	for _, l := range c.LB.Listen.All() {
		for i, node := range nodes {
			for _, port := range node.Ports() {
				if !collide(l.Address, port.Address) {
					continue
				}
				other := fmt.Sprintf("%s[%d].%s", key, i, port.Transport)
				listen := "lb.listen." + l.Name
				origin := c.nearestOrigin(listen)
				if origin == (Origin{}) {
					origin = c.nearestOrigin(other)
				}
				p.add(origin, listen, "%s is also %s, port %s of %s", l.Address, other, portOf(port.Address), node.Name)
			}
		}
	}
}

// Doubts lists what is allowed but will not work well together.
func (c *Config) Doubts() (doubts []string) {
	most := c.LB.NodeCap()
	if c.Cluster.NodeMaxConnections < most && slices.Equal(c.LB.Nodes, c.Cluster.Nodes) {
		doubts = append(doubts, fmt.Sprintf("cluster.node_max_connections: %d is less than the %d connections the balancer may send to a node",
			c.Cluster.NodeMaxConnections, most))
	}
	lb := c.LB
	var err error
	if lb.Nodes, err = c.AllNodes(); err != nil {
		doubts = append(doubts, fmt.Sprintf("lb.nodes_from: %v; its nodes are not there until it can be taken", err))
	}
	listening := lb.Listening()
	for _, l := range []struct{ key, wanted, open, needs string }{
		{"lb.listen.tcp", c.LB.Listen.TCP, listening.TCP, "a tcp port"},
		{"lb.listen.http", c.LB.Listen.HTTP, listening.HTTP, "an http or sse port"},
		{"lb.listen.https", c.LB.Listen.HTTPS, listening.HTTPS, "an http or sse port"},
	} {
		if _, said := c.origins[l.key]; said && l.wanted != l.open {
			doubts = append(doubts, l.key+": no node has "+l.needs+", so nothing listens there")
		}
	}
	return doubts
}

// collide reports whether a listener takes the port of a node that is surely on this machine.
func collide(listen, node string) bool {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" || port != portOf(node) {
		return false
	}
	nodeHost, _, _ := net.SplitHostPort(node)
	if strings.EqualFold(host, nodeHost) {
		return true
	}
	listener, at := parseHost(host), parseHost(nodeHost)
	switch {
	case !at.IsValid():
		return false
	case listener.IsUnspecified():
		return at.IsLoopback() || at.IsUnspecified()
	}
	return listener == at || at.IsUnspecified()
}

// parseHost is the address of a host; no host is every address, and a name other than localhost none.
func parseHost(host string) netip.Addr {
	switch strings.ToLower(host) {
	case "":
		return netip.IPv6Unspecified()
	case "localhost":
		host = "127.0.0.1"
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return at.Unmap()
}

func portOf(address string) string {
	return address[strings.LastIndexByte(address, ':')+1:]
}
