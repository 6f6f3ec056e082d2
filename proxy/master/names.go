package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// Resolver looks names up, as a *net.Resolver does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
}

// newResolver asks what r says, or the system.
func newResolver(r proxy.Resolve) Resolver {
	resolver := &net.Resolver{PreferGo: true}
	if len(r.Servers) > 0 {
		var turn atomic.Uint32
		resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			server, err := proxy.ParseServer(r.Servers[int(turn.Add(1)-1)%len(r.Servers)])
			if err != nil {
				return nil, err
			}
			var d net.Dialer
			return d.DialContext(ctx, network, server.String())
		}
	}
	return resolver
}

// found is a node and where it is.
type found struct {
	node topology.Node
	addr netip.Addr // invalid: that is not known yet
	of   string     // the service that it is one of, or ""
	why  string     // what is wrong with a name that led to it, or ""
}

// answer is what a name stands for, or why that is not known.
type answer[T any] struct {
	is  []T
	err error
}

// answers are those to the questions of one look.
type answers struct {
	services map[string]answer[target] // by name
	hosts    map[string]answer[netip.Addr]
}

// target is where a service is served.
type target struct {
	host   string // as it is looked up: with the dot at the end
	port   int
	weight int
}

// names knows what the hosts of nodes stand for. A good answer stays until there is another one. Methods may
// be called from any goroutine.
type names struct {
	log   *log.Logger
	hurry chan struct{} // have a look soon

	mu       sync.Mutex
	services map[string]answer[target]     // of the last good answer, err of the last one
	hosts    map[string]answer[netip.Addr] // all addresses, the one that is taken first
	moved    map[place]netip.Addr          // where a node is that was not at its host's first address
}

// place is a port of a host, by its name.
type place struct {
	host string
	port uint16
}

func newNames(logger *log.Logger) *names {
	return &names{
		log: logger, hurry: make(chan struct{}, 1),
		services: make(map[string]answer[target]), hosts: make(map[string]answer[netip.Addr]),
		moved: make(map[place]netip.Addr),
	}
}

// hasten has a look taken soon.
func (ns *names) hasten() {
	select {
	case ns.hurry <- struct{}{}:
	default:
	}
}

// ask looks all names of nodes up, side by side. It takes no longer than twice the timeout.
func (ns *names) ask(ctx context.Context, r Resolver, timeout time.Duration, nodes []topology.Node) answers {
	services, hosts := map[string]bool{}, map[string]bool{}
	for _, n := range nodes {
		if n.IsService() {
			services[n.Host] = true
		} else if _, err := netip.ParseAddr(n.Host); err != nil {
			hosts[n.Host] = true
		}
	}
	a := answers{services: lookUp(ctx, timeout, services, func(ctx context.Context, name string) ([]target, error) {
		_, records, err := r.LookupSRV(ctx, "", "", name)
		return targets(records), err
	})}
	ns.mu.Lock()
	for name, heard := range a.services {
		for _, t := range slices.Concat(heard.is, ns.services[name].is) {
			hosts[t.host] = true
		}
	}
	ns.mu.Unlock()
	a.hosts = lookUp(ctx, timeout, hosts, func(ctx context.Context, name string) ([]netip.Addr, error) {
		is, err := r.LookupNetIP(ctx, "ip", name)
		if isLocalhost(name) {
			return append(is, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()), nil
		}
		return is, err
	})
	return a
}

// isLocalhost reports whether a name stands for this machine, whatever DNS or a file say (RFC 6761 section 6.3).
func isLocalhost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// lookUp asks for all names at the same time.
func lookUp[T any](ctx context.Context, timeout time.Duration, names map[string]bool, ask func(context.Context, string) ([]T, error)) map[string]answer[T] {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	heard := make(map[string]answer[T], len(names))
	for name := range names {
		asking.Go(func() {
			is, err := ask(ctx, name)
			var dns *net.DNSError
			switch {
			case errors.As(err, &dns):
				err = fmt.Errorf("cannot resolve %s: %s", strings.TrimSuffix(name, "."), dns.Err)
			case err != nil:
				err = fmt.Errorf("cannot resolve %s: %w", strings.TrimSuffix(name, "."), err)
			case len(is) == 0:
				err = fmt.Errorf("cannot resolve %s: the answer is empty", strings.TrimSuffix(name, "."))
			}
			mu.Lock()
			defer mu.Unlock()
			heard[name] = answer[T]{is, err}
		})
	}
	asking.Wait()
	return heard
}

// targets are those of the best priority, each once.
func targets(records []*net.SRV) (list []target) {
	best := uint16(0)
	for _, r := range records {
		// A target of "." says that there is no such service (RFC 2782).
		if r.Port == 0 || r.Target == "." || r.Target == "" {
			continue
		}
		if len(list) > 0 && r.Priority > best {
			continue
		}
		if r.Priority < best {
			list = nil
		}
		best = r.Priority
		t := target{strings.ToLower(r.Target), int(r.Port), int(r.Weight)}
		if !slices.ContainsFunc(list, func(o target) bool { return o.host == t.host && o.port == t.port }) {
			list = append(list, t)
		}
	}
	weigh(list)
	slices.SortFunc(list, func(a, b target) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.port, b.port)) })
	return list
}

// weigh makes weights of nodes, at most 256, of those in an answer: 0 if they are all the same.
func weigh(list []target) {
	least, most := 0, 0
	for i, t := range list {
		if i == 0 || t.weight < least {
			least = t.weight
		}
		most = max(most, t.weight)
	}
	for i := range list {
		switch t := &list[i]; {
		case least == most:
			t.weight = 0
		case most > 256:
			t.weight = max(1, t.weight*256/most)
		default:
			t.weight = max(1, t.weight)
		}
	}
}

// learn takes in what was heard. What is wrong is logged once.
func (ns *names) learn(a answers) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for name, heard := range a.services {
		ns.services[name] = merge(ns.log, ns.services[name], heard)
	}
	for name, heard := range a.hosts {
		known := ns.hosts[name]
		if heard.err == nil {
			heard.is = arrange(known.is, heard.is)
		}
		ns.hosts[name] = merge(ns.log, known, heard)
	}
}

// arrange puts the address first that is taken of those in an answer: the present one if it is among them, else an
// IPv4 address rather than another.
func arrange(present, heard []netip.Addr) []netip.Addr {
	list := make([]netip.Addr, 0, len(heard))
	for _, a := range heard {
		if a = a.Unmap(); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	rank := func(a netip.Addr) int {
		switch {
		case len(present) > 0 && a == present[0]:
			return 0
		case a.Is4():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b netip.Addr) int { return rank(a) - rank(b) })
	return list
}

// merge is what is known of a name after another answer.
func merge[T any](logger *log.Logger, known, heard answer[T]) answer[T] {
	switch {
	case heard.err == nil:
		return heard
	case known.err == nil || known.err.Error() != heard.err.Error():
		logger.Warn("a node's name", "err", heard.err, "last_answer_stays", len(known.is) > 0)
	}
	known.err = heard.err
	return known
}

// retain forgets all names that nodes do not have.
func (ns *names) retain(nodes []topology.Node) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	services, hosts := make(map[string]answer[target]), make(map[string]answer[netip.Addr])
	for _, n := range nodes {
		if a, ok := ns.hosts[n.Host]; ok {
			hosts[n.Host] = a
		}
		if a, ok := ns.services[n.Host]; ok {
			services[n.Host] = a
			for _, t := range a.is {
				hosts[t.host] = ns.hosts[t.host]
			}
		}
	}
	ns.services, ns.hosts = services, hosts
	maps.DeleteFunc(ns.moved, func(p place, _ netip.Addr) bool { return len(hosts[p.host].is) == 0 })
}

// find returns where nodes are, and in place of a service the nodes that it has.
func (ns *names) find(nodes []topology.Node) (list []found) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for _, n := range nodes {
		switch service := ns.services[n.Host]; {
		case !n.IsService():
			list = append(list, ns.place(n, n.Host))
		case len(service.is) == 0:
			list = append(list, found{node: n, why: reason(service.err)})
		default:
			for _, t := range service.is {
				at := n.At(strings.TrimSuffix(t.host, "."), t.port)
				if at.Weight == 0 {
					at.Weight = t.weight
				}
				f := ns.place(at, t.host)
				f.of, f.why = n.Host, cmp.Or(reason(service.err), f.why)
				list = append(list, f)
			}
		}
	}
	return list
}

// place finds the host of n.
func (ns *names) place(n topology.Node, host string) found {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(host, ".")); err == nil {
		return found{node: n, addr: addr.Unmap()}
	}
	f, known := found{node: n}, ns.hosts[host]
	if len(known.is) > 0 {
		f.addr = known.is[0]
		if moved := ns.moved[place{host, firstPort(n)}]; slices.Contains(known.is, moved) {
			f.addr = moved
		}
	}
	f.why = reason(known.err)
	return f
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// isNamed reports whether where n is depends on a name.
func isNamed(n topology.Node) bool {
	_, err := netip.ParseAddr(n.Host)
	return err != nil
}

// Locate is nodes with those of services in their place, as DNS says at this moment. A service that is not
// found stays as it is.
func Locate(ctx context.Context, r proxy.Resolve, nodes []topology.Node) []topology.Node {
	if !slices.ContainsFunc(nodes, topology.Node.IsService) {
		return nodes
	}
	ns := newNames(log.New(io.Discard))
	ns.learn(ns.ask(ctx, newResolver(r), r.Timeout, nodes))
	located := []topology.Node{}
	for _, f := range ns.find(nodes) {
		located = append(located, f.node)
	}
	return located
}

// movesOf says what has become of nodes by their names alone, one sentence each.
func movesOf(before []*member, after []found) (moves []string) {
	for _, f := range after {
		was := findMember(before, f.node.Name)
		switch {
		case !f.addr.IsValid() || !isNamed(f.node) && f.of == "":
		case was == nil && f.of != "":
			moves = append(moves, fmt.Sprintf("%s is at %s, by %s", f.node.Name, portal(f.node, f.addr), f.of))
		case was != nil && !was.addr.IsValid():
			moves = append(moves, fmt.Sprintf("%s is at %s", f.node.Name, portal(f.node, f.addr)))
		case was != nil && was.addr != f.addr && was.node.Host == f.node.Host:
			moves = append(moves, fmt.Sprintf("%s has moved from %s to %s", f.node.Name, was.addr, f.addr))
		}
	}
	for _, m := range before {
		gone := !slices.ContainsFunc(after, func(f found) bool { return f.node.Name == m.node.Name })
		served := slices.ContainsFunc(after, func(f found) bool { return f.of == m.of })
		if m.of != "" && !m.leaving && gone && served {
			moves = append(moves, fmt.Sprintf("%s leaves, by %s", m.node.Name, m.of))
		}
	}
	return moves
}

// portal is the address of the first transport of n.
func portal(n topology.Node, addr netip.Addr) string {
	if port := firstPort(n); port != 0 {
		return net.JoinHostPort(addr.String(), strconv.Itoa(int(port)))
	}
	return addr.String()
}

func firstPort(n topology.Node) uint16 {
	for _, port := range wire.PortsOf(n) {
		if port != 0 {
			return port
		}
	}
	return 0
}

// seek tries the other addresses of nodes that do not take connections where they were found, and takes the first
// that does: a server of localhost may listen at ::1 alone. It takes no longer than the timeout for each address.
func (ns *names) seek(ctx context.Context, nodes []found, timeout time.Duration) {
	listens := func(n topology.Node, addr netip.Addr) bool {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, "tcp", portal(n, addr))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}
	var seeking sync.WaitGroup
	for _, f := range nodes {
		host := f.node.Host
		if f.of != "" {
			host += "." // as it is looked up
		}
		ns.mu.Lock()
		others := slices.DeleteFunc(slices.Clone(ns.hosts[host].is), func(a netip.Addr) bool { return a == f.addr })
		ns.mu.Unlock()
		if len(others) == 0 {
			continue
		}
		seeking.Go(func() {
			if listens(f.node, f.addr) {
				return
			}
			at := slices.IndexFunc(others, func(a netip.Addr) bool { return listens(f.node, a) })
			if at < 0 {
				return
			}
			ns.mu.Lock()
			defer ns.mu.Unlock()
			ns.moved[place{host, firstPort(f.node)}] = others[at]
		})
	}
	seeking.Wait()
}

// watchNames has nodes follow their names, until serving ends: every lb.resolve.interval, and every second while
// one of them is down.
func (m *master) watchNames() {
	last := time.Now()
	for {
		now := &m.inForce.Load().spec.Resolve
		soon := min(now.Interval, time.Second)
		select {
		case <-m.serving.Done():
			return
		case <-m.names.hurry:
		case <-time.After(soon):
		}
		since := time.Since(last)
		if since >= now.Interval || since >= soon && m.members.lost() {
			last = time.Now()
			m.followNames()
		}
	}
}

// followNames looks all names up and puts into force what they stand for now.
func (m *master) followNames() {
	spec := &m.inForce.Load().spec
	m.names.learn(m.ask(m.serving, spec))
	m.names.seek(m.serving, m.members.fallen(), spec.Checks.Timeout)
	m.reloading.Lock()
	defer m.reloading.Unlock()
	if m.draining() {
		return
	}
	now := m.inForce.Load()
	m.names.retain(now.spec.Nodes)
	if m.members.note(m.names.find(now.spec.Nodes)) {
		return
	}
	next := *now
	moved, err := m.adopt(&next)
	if err != nil {
		m.log.Error("nodes cannot follow their names", "err", err)
		return
	}
	m.log.Info("nodes follow their names", "moved", moved)
}

// ask looks the names of a spec's nodes up.
func (m *master) ask(ctx context.Context, s *proxy.Spec) answers {
	resolver := m.o.Resolver
	if resolver == nil {
		resolver = newResolver(s.Resolve)
	}
	return m.names.ask(ctx, resolver, s.Resolve.Timeout, s.Nodes)
}
