package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Lengths are not in the patterns: compiled, they would take a hundred times the memory.
const (
	maxName = 32
	maxHost = 254
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// hostPattern takes names only; addresses are parsed.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)

// Validate reports the first thing wrong with nodes: a name that is malformed or used twice, a host
// that is none, a port or weight out of range, a node that listens nowhere, or two listeners on one
// port. Errors begin with the path of the field below the list, as in "[1].tcp: …".
func Validate(nodes []Node) error {
	if len(nodes) == 0 {
		return errors.New("at least one node is needed")
	}
	named := map[string]int{}
	var taken []listener
	for i, n := range nodes {
		if err := n.validate(); err != nil {
			return fmt.Errorf("[%d].%w", i, err)
		}
		if first, twice := named[n.Name]; twice {
			return fmt.Errorf("[%d].name: %q is already the name of [%d]", i, n.Name, first)
		}
		named[n.Name] = i
		for _, l := range n.listeners() {
			for _, other := range taken {
				if l.collides(other) {
					return fmt.Errorf("[%d].%s: port %d on %s is already the %s port of %s",
						i, l.transport, l.port, n.Host, other.transport, other.node)
				}
			}
			taken = append(taken, l)
		}
	}
	return nil
}

func (n Node) validate() error {
	if len(n.Name) > maxName || !namePattern.MatchString(n.Name) {
		return fmt.Errorf("name: %q must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or digit", n.Name)
	}
	if _, err := netip.ParseAddr(n.Host); err != nil && (len(n.Host) > maxHost || !hostPattern.MatchString(n.Host)) {
		return fmt.Errorf("host: %q is neither an address nor a host name", n.Host)
	}
	for _, l := range n.all() {
		if l.port < 0 || l.port > 65535 {
			return fmt.Errorf("%s: port %d is not within 1..65535 (0 = not served)", l.transport, l.port)
		}
	}
	if len(n.listeners()) == 0 {
		return fmt.Errorf("tcp: %s listens nowhere; give it a tcp, http or sse port", n.Name)
	}
	if n.Weight < 0 || n.Weight > 256 {
		return fmt.Errorf("weight: %d is not within 1..256 (0 = 1)", n.Weight)
	}
	return nil
}

type listener struct {
	node, transport, host string
	port                  int
}

func (n Node) all() []listener {
	host := canonicalHost(n.Host)
	return []listener{{n.Name, "tcp", host, n.TCP}, {n.Name, "http", host, n.HTTP}, {n.Name, "sse", host, n.SSE}}
}

func (n Node) listeners() []listener {
	var served []listener
	for _, l := range n.all() {
		if l.port != 0 {
			served = append(served, l)
		}
	}
	return served
}

const everyHost = "*"

// canonicalHost makes different spellings of one address equal. Names are not resolved.
func canonicalHost(host string) string {
	if strings.EqualFold(host, "localhost") {
		return "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return strings.ToLower(host)
	}
	if addr = addr.Unmap(); addr.IsUnspecified() {
		return everyHost
	}
	return addr.String()
}

func (l listener) collides(other listener) bool {
	return l.port == other.port && (l.host == other.host || l.host == everyHost || other.host == everyHost)
}
