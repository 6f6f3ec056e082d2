// Package topology describes the nodes of a cluster: their names and where each of them listens.
// It is pure data, shared by what runs nodes and by what sends clients to them.
package topology

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// Node is one MCP server. It serves at least one of three transports; one port may serve several.
type Node struct {
	Name string `yaml:"name" json:"name"`

	// Host is the address or name the node listens on and is reached at; empty means DefaultHost. The name of
	// a service, like _mcp._tcp.example.com, stands for nodes that DNS names; see IsService.
	Host string `yaml:"host" json:"host"`

	// TCP (newline-delimited JSON-RPC), HTTP (Streamable HTTP and WebSocket) and SSE (the legacy
	// HTTP+SSE transport) are ports. 0 means not served.
	TCP  int `yaml:"tcp,omitempty" json:"tcp"`
	HTTP int `yaml:"http,omitempty" json:"http"`
	SSE  int `yaml:"sse,omitempty" json:"sse"`

	// Path is where the MCP endpoint is, over HTTP; empty means DefaultPath.
	Path string `yaml:"path,omitempty" json:"path,omitempty"`

	// URL of the MCP endpoint, http or https, says Host, HTTP and Path in one; see Complete. With https
	// the ports HTTP and SSE speak TLS.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`

	// Weight is the node's share of the clients relative to the other nodes, 1..256. 0 means 1.
	Weight int `yaml:"weight,omitempty" json:"weight,omitempty"`
}

// What a node has where nothing is said.
const (
	DefaultHost = "127.0.0.1"
	DefaultPath = "/mcp"
)

// Complete fills in what is not said: the host, and with a URL its host, port and path. A URL that cannot
// be read fills in nothing; Validate reports it.
func (n Node) Complete() Node {
	if n.URL != "" {
		if at, err := parseURL(n.URL); err == nil {
			if n.Host == "" {
				n.Host = at.Host
			}
			if n.HTTP == 0 {
				n.HTTP = at.HTTP
			}
			if n.Path == "" {
				n.Path = at.Path
			}
		}
		return n
	}
	if n.Host == "" {
		n.Host = DefaultHost
	}
	return n
}

// Complete completes each of nodes.
func Complete(nodes []Node) []Node {
	completed := make([]Node, len(nodes))
	for i, n := range nodes {
		completed[i] = n.Complete()
	}
	return completed
}

// MCPPath is the path of the MCP endpoint over HTTP.
func (n Node) MCPPath() string {
	if n.Path == "" {
		return DefaultPath
	}
	return n.Path
}

// TLS reports whether the node speaks TLS on its ports for HTTP and SSE.
func (n Node) TLS() bool { return strings.HasPrefix(strings.ToLower(n.URL), "https:") }

// Scheme is "http" or "https".
func (n Node) Scheme() string {
	if n.TLS() {
		return "https"
	}
	return "http"
}

// TCPAddress is host:port of the TCP transport, "" when it is not served.
func (n Node) TCPAddress() string { return n.address(n.TCP) }

// HTTPAddress is host:port of the HTTP transport, "" when it is not served.
func (n Node) HTTPAddress() string { return n.address(n.HTTP) }

// SSEAddress is host:port of the legacy SSE transport, "" when it is not served.
func (n Node) SSEAddress() string { return n.address(n.SSE) }

func (n Node) address(port int) string {
	if port == 0 {
		return ""
	}
	return net.JoinHostPort(n.Host, strconv.Itoa(port))
}

// IsService reports whether the host is the name of a service (RFC 2782): SRV records say at which hosts and
// ports it is served over HTTP, and each of them is a node; see At.
func (n Node) IsService() bool { return strings.HasPrefix(n.Host, "_") }

// At is the node of service n that is found at a port of target. Its name depends on nothing else, so that it
// is the same whatever other nodes there are.
func (n Node) At(target string, port int) Node {
	n.Host, n.HTTP = target, port
	sum := sha256.Sum256([]byte(strings.ToLower(n.HTTPAddress())))
	n.Name += "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:servedName])
	if n.URL != "" {
		n.URL = n.Scheme() + "://" + n.HTTPAddress() + n.Path
	}
	return n
}

// servedName is how many letters tell the nodes of a service apart.
const servedName = 6

// Port is one place a node listens on.
type Port struct {
	Transport string // "tcp", "http" or "sse"
	Address   string // host:port
}

// Ports lists the transports the node serves. That of a service has port 0.
func (n Node) Ports() []Port {
	if n.IsService() {
		return []Port{{"http", net.JoinHostPort(n.Host, "0")}}
	}
	all := []Port{{"tcp", n.TCPAddress()}, {"http", n.HTTPAddress()}, {"sse", n.SSEAddress()}}
	served := all[:0]
	for _, p := range all {
		if p.Address != "" {
			served = append(served, p)
		}
	}
	return served
}

// Default is n nodes on the loopback address: erlmcp1 on TCP 9001, HTTP 9101 and SSE 9201, erlmcp2
// on the ports after it, and so on.
func Default(n int) []Node {
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{
			Name: fmt.Sprintf("erlmcp%d", i+1),
			Host: "127.0.0.1",
			TCP:  9001 + i, HTTP: 9101 + i, SSE: 9201 + i,
		}
	}
	return nodes
}

// Resize returns the first n of nodes, and when there are fewer, nodes after the last one: numbered on,
// on its host, each on the ports after those of the one before. The result is not validated.
func Resize(nodes []Node, n int) []Node {
	resized := append([]Node(nil), nodes[:min(n, len(nodes))]...)
	if len(resized) == 0 {
		return Default(max(n, 0))
	}
	for len(resized) < n {
		next := resized[len(resized)-1]
		prefix := strings.TrimRight(next.Name, "0123456789")
		number, err := strconv.Atoi(next.Name[len(prefix):])
		if err != nil { // no number, or a very long one
			prefix, number = next.Name, 1
		}
		next.Name = prefix + strconv.Itoa(number+1)
		for _, port := range []*int{&next.TCP, &next.HTTP, &next.SSE} {
			if *port != 0 {
				*port++
			}
		}
		if next.URL != "" {
			next.URL = next.Scheme() + "://" + next.HTTPAddress() + next.MCPPath()
		}
		resized = append(resized, next)
	}
	return resized
}

// UnknownError says that no node has the name asked for.
type UnknownError struct {
	Name  string
	Nodes []string // the names there are
}

func (e *UnknownError) Error() string {
	if len(e.Nodes) == 0 {
		return fmt.Sprintf("unknown node %q (there are no nodes)", e.Name)
	}
	text := fmt.Sprintf("unknown node %q (nodes: %s)", e.Name, strings.Join(e.Nodes, ", "))
	if near := nearest.Find(e.Name, e.Nodes); near != "" {
		text += fmt.Sprintf("; did you mean %s?", near)
	}
	return text
}

// ExitCode marks an unknown name as wrong usage.
func (e *UnknownError) ExitCode() int { return 2 }

// Find returns the node called name, or an *UnknownError.
func Find(nodes []Node, name string) (Node, error) {
	for _, n := range nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, &UnknownError{Name: name, Nodes: Names(nodes)}
}

// Names lists the names of nodes, in their order.
func Names(nodes []Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return names
}
