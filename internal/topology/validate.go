package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Lengths are not in the patterns: compiled, they would take a hundred times the memory.
const (
	maxName = 32
	maxHost = 254
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// hostPattern takes names only; addresses are parsed. One that begins with _ is a service's.
var hostPattern = regexp.MustCompile(`^_?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)

// Validate reports the first thing wrong with nodes: a name that is malformed or used twice, a host
// that is none, a port or weight out of range, a node that listens nowhere, or the listeners of two nodes
// on one port. Errors begin with the path of the field below the list, as in "[1].tcp: …".
func Validate(nodes []Node) error { return validate(nodes, false) }

// ValidateEmbedded is Validate for nodes of this program's own, which have a port for each transport.
func ValidateEmbedded(nodes []Node) error { return validate(nodes, true) }

func validate(nodes []Node, embedded bool) error {
	if len(nodes) == 0 {
		return errors.New("at least one node is needed")
	}
	named, services := map[string]int{}, map[string]int{}
	var taken []listener
	for i, n := range nodes {
		if err := n.validate(); err != nil {
			return fmt.Errorf("[%d].%w", i, err)
		}
		if first, twice := named[n.Name]; twice {
			return fmt.Errorf("[%d].name: %q is already the name of [%d]", i, n.Name, first)
		}
		named[n.Name] = i
		if n.IsService() {
			if first, twice := services[strings.ToLower(n.Host)]; twice {
				return fmt.Errorf("[%d].host: %s is already the service of [%d]", i, n.Host, first)
			}
			services[strings.ToLower(n.Host)] = i
		}
		for _, l := range n.listeners() {
			for _, other := range taken {
				if (embedded || other.node != n.Name) && l.collides(other) {
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
	if err := n.validateURL(); err != nil {
		return err
	}
	if _, err := netip.ParseAddr(n.Host); err != nil && (len(n.Host) > maxHost || !hostPattern.MatchString(n.Host)) {
		return fmt.Errorf("host: %q is neither an address nor a host name", n.Host)
	}
	for _, l := range n.all() {
		if l.port < 0 || l.port > 65535 {
			return fmt.Errorf("%s: port %d is not within 1..65535 (0 = not served)", l.transport, l.port)
		}
	}
	if n.IsService() {
		if ports := n.listeners(); len(ports) > 0 {
			return fmt.Errorf("%s: the ports of the service %s come from DNS; write none", ports[0].transport, n.Host)
		}
		if longest := 32 - 1 - servedName; len(n.Name) > longest {
			return fmt.Errorf("name: %q must be at most %d long, as its nodes get names that begin with it", n.Name, longest)
		}
	} else if len(n.listeners()) == 0 {
		return fmt.Errorf("http: %s listens nowhere; give it a tcp, http or sse port, or a url", n.Name)
	}
	if n.Path != "" && !IsPath(n.Path) {
		return fmt.Errorf("path: %q must be a path that begins with / and has no query", n.Path)
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

// IsPath reports whether text is a path that an HTTP request can have: it begins with a slash and has
// neither query nor fragment, at most 1,024 visible ASCII characters.
func IsPath(text string) bool {
	if len(text) == 0 || text[0] != '/' || len(text) > 1024 {
		return false
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			return false
		}
	}
	return true
}

// parseURL reads the URL of an MCP endpoint.
func parseURL(text string) (Node, error) {
	u, err := url.Parse(text)
	if err != nil {
		var why *url.Error
		if errors.As(err, &why) {
			err = why.Err
		}
		return Node{}, err
	}
	at := Node{Host: u.Hostname(), Path: u.EscapedPath()}
	scheme := strings.ToLower(u.Scheme)
	switch {
	case scheme != "http" && scheme != "https":
		return at, errors.New("it must begin with http:// or https://")
	case at.Host == "":
		return at, errors.New("it has no host")
	case u.User != nil:
		return at, errors.New("it must not hold a user or password")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return at, errors.New("it must end with its path")
	}
	at.HTTP = map[string]int{"http": 80, "https": 443}[scheme]
	if at.IsService() {
		at.HTTP = 0
	}
	switch port := u.Port(); {
	case port == "":
	case at.IsService():
		return at, fmt.Errorf("the port of the service %s comes from DNS; write none", at.Host)
	default:
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return at, fmt.Errorf("port %s is not within 1..65535", port)
		}
		at.HTTP = int(number)
	}
	return at, nil
}

// redacted is a URL without what may be a secret.
func redacted(text string) string {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		return "…" + text[at:]
	}
	return text
}

func (n Node) validateURL() error {
	if n.URL == "" {
		return nil
	}
	at, err := parseURL(n.URL)
	switch {
	case err != nil:
		return fmt.Errorf("url: %q is not the URL of an MCP endpoint, like https://host:port/mcp: %w", redacted(n.URL), err)
	case n.Host != at.Host:
		return fmt.Errorf("host: %q is not the host of url (%s); write only one of them", n.Host, at.Host)
	case n.HTTP != at.HTTP:
		return fmt.Errorf("http: %d is not the port of url (%d); write only one of them", n.HTTP, at.HTTP)
	case n.Path != at.Path:
		return fmt.Errorf("path: %q is not the path of url (%q); write only one of them", n.Path, at.Path)
	}
	return nil
}
