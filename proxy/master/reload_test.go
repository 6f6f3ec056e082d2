package master

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// reloaded reloads and returns the lists of keys.
func (b *balancer) reloaded(change func(*proxy.Spec)) proxy.Reloaded {
	b.t.Helper()
	b.edit(change)
	r, err := b.Reload(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func wantKeys(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("keys are %v, want %v", got, want)
	}
}

func TestReloadNothing(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	r := b.reloaded(func(*proxy.Spec) {})
	wantKeys(t, r.Changed)
	wantKeys(t, r.Restart)
	if s := b.stats(); s.Reload == nil || !s.Reload.OK || s.Node("n0").StateChanges != 1 {
		t.Errorf("stats are %+v", s)
	}
}

func TestReloadKeepsConnections(t *testing.T) {
	nodes := proxytest.StartNodes(t, 3)
	b := serve(t, nodes[:2], func(s *proxy.Spec) { s.Sticky.TCP = proxy.StickyNone })
	clients := map[string]*proxytest.Client{}
	for len(clients) < 2 {
		c := b.dial()
		clients[c.Ask("hello")] = c
	}
	r := b.reloaded(func(s *proxy.Spec) {
		s.Nodes[0] = nodes[2].Node("n2") // n0 goes, n2 comes
		s.Nodes[1].Weight = 7
		s.Limits.MaxPerSource = 5
		s.Checks.Kind = "tcp"
		s.Checks.Fall = 3
	})
	wantKeys(t, r.Changed, "lb.checks.fall", "lb.limits.max_per_source", "lb.nodes")
	b.eventuallyState("n2", proxy.NodeUp)
	s := b.stats()
	if len(s.Nodes) != 3 || s.Node("n1").Weight != 7 || s.Node("n0") != nil || s.Nodes[2].Name != "n0" || !s.Nodes[2].Leaving || s.Nodes[2].State != proxy.NodeDraining {
		t.Errorf("nodes are %+v", s.Nodes)
	}
	for name, c := range clients {
		if got := c.Ask("still here"); got != name {
			t.Errorf("a client of %s is answered by %q", name, got)
		}
	}
	if got := b.dial().Ask("hello"); got == "n0" {
		t.Error("a newcomer went to the node that leaves")
	}
	clients["n0"].Close()
	b.eventually("n0 to leave", func(s *proxy.Stats) bool { return len(s.Nodes) == 2 })
	// It may come back, into the slot it left, with counters of its own.
	b.reloaded(func(s *proxy.Spec) { s.Nodes = append(s.Nodes, nodes[0].Node("n0")) })
	b.eventuallyState("n0", proxy.NodeUp)
	if n := b.stats().Node("n0"); n.Total != 0 || n.StateChanges != 1 {
		t.Errorf("the node came back with %+v", n)
	}
}

func TestReloadRevivesALeavingNode(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	b := serve(t, nodes, func(s *proxy.Spec) { s.Sticky.TCP = proxy.StickyNone })
	clients := map[string]*proxytest.Client{}
	for len(clients) < 2 {
		c := b.dial()
		clients[c.Ask("hello")] = c
	}
	all := testSpec(nodes...).Nodes
	b.reloaded(func(s *proxy.Spec) { s.Nodes = all[:1] })
	b.reloaded(func(s *proxy.Spec) { s.Nodes = all })
	s := b.stats()
	if len(s.Nodes) != 2 || s.Node("n1") == nil || s.Node("n1").State != proxy.NodeUp || s.Node("n1").Connections != 1 {
		t.Errorf("nodes are %+v", s.Nodes)
	}
	clients["n1"].Ask("still here")
}

func TestReloadMovesANode(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	b := serve(t, nodes[:1], nil)
	c := b.dial()
	c.Ask("hello")
	b.reloaded(func(s *proxy.Spec) { s.Nodes[0] = nodes[1].Node("n0") })
	b.eventuallyState("n0", proxy.NodeUp)
	if s := b.stats(); len(s.Nodes) != 2 || s.Node("n0").Address != nodes[1].Address() {
		t.Errorf("nodes are %+v", s.Nodes)
	}
	if got := c.Ask("still here"); got != "n0" {
		t.Errorf("answered by %q", got)
	}
	if got := b.dial().Ask("hello"); got != "n1" {
		t.Errorf("a newcomer is answered by %q at the old address", got)
	}
	// Metrics tell the two apart.
	if status, body := b.get("admin", "/metrics"); status != http.StatusOK {
		t.Errorf("metrics are %d: %s", status, body)
	}
}

// Newcomers are served all the time while every node is replaced by another.
func TestReloadLosesNobody(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	b := serve(t, nodes[:1], nil)
	address := b.address("tcp")
	stop, served := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				served <- nil
				return
			default:
			}
			line, err := askOnce(address)
			if err == nil && !strings.HasSuffix(line, ":hello\n") {
				err = fmt.Errorf("heard %q", line)
			}
			if err != nil {
				served <- fmt.Errorf("client %d: %w", n, err)
				return
			}
		}
	}()
	for i := range 10 {
		b.reloaded(func(s *proxy.Spec) { s.Nodes[0] = nodes[(i+1)%2].Node("n0") })
	}
	close(stop)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// askOnce is a client that says one line and hears one.
func askOnce(address string) (line string, err error) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

func TestReloadMovesListeners(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	before := b.address("tcp")
	c := b.dial()
	c.Ask("hello")
	r := b.reloaded(func(s *proxy.Spec) { s.Listen = proxy.Listen{TCP: "127.0.0.2:0", Health: "127.0.0.2:0"} })
	wantKeys(t, r.Changed, "lb.listen.admin", "lb.listen.health", "lb.listen.tcp")
	if at := b.address("tcp"); !strings.HasPrefix(at, "127.0.0.2:") {
		t.Errorf("listens on %s", at)
	}
	if at := b.address("health"); !strings.HasPrefix(at, "127.0.0.2:") {
		t.Errorf("health listens on %s", at)
	}
	b.get("health", "/health")
	b.dial().Ask("hello")
	c.Ask("still here")
	s := b.stats()
	if len(s.Workers) < 2 || s.Connections.Active != 2 || len(s.Listeners) != 3 {
		t.Errorf("stats while the first workers drain: %+v", s)
	}
	c.Close()
	b.eventually("the first workers to end", func(s *proxy.Stats) bool { return len(s.Listeners) == 2 })
	if conn, err := net.Dial("tcp", before); err == nil {
		conn.Close()
		t.Error("the old address is still open")
	}
	b.dial().Ask("hello")
	if b.stats().Connections.Total != 3 {
		t.Error("the counts of ended workers are lost")
	}
}

func TestReloadNeedsRestart(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Workers = 1 })
	r := b.reloaded(func(s *proxy.Spec) {
		s.Workers = 4
		s.SourceTable = 4096
		s.MaxConnections = 2000
		s.Timeouts.Idle = time.Minute
	})
	wantKeys(t, r.Changed, "lb.max_connections", "lb.timeouts.idle")
	wantKeys(t, r.Restart, "lb.source_table", "lb.workers")
	if s := b.stats(); s.Sources.Capacity != 1024 || len(s.Workers) != 1 || s.Connections.Max != 2000 || s.Workers[0].Max != 2000 || s.Nodes[0].MaxConnections != 2000 {
		t.Errorf("stats are %+v", s)
	}
}

func TestFit(t *testing.T) {
	m := &master{nofile: 20_000}
	old := ofFour()
	old.MaxConnections = 10_000
	c, err := planCapacity(&old, 2, m.nofile)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		change  func(*proxy.Spec)
		restart []string
		want    capacity
		wantErr string
	}{
		{name: "as it was", change: func(*proxy.Spec) {}, want: capacity{2, 3, 9872}},
		{name: "fewer clients", change: func(s *proxy.Spec) { s.MaxConnections = 100 }, want: capacity{2, 3, 100}},
		{name: "more than the workers hold", change: func(s *proxy.Spec) { s.MaxConnections = 100_000 }, restart: []string{"lb.max_connections"}, want: capacity{2, 3, 9872}},
		{
			name:    "and more workers",
			change:  func(s *proxy.Spec) { s.MaxConnections, s.Workers = 100_000, 20 },
			restart: []string{"lb.workers", "lb.max_connections"}, want: capacity{2, 3, 9872},
		},
		{name: "source table", change: func(s *proxy.Spec) { s.SourceTable = 1024 }, restart: []string{"lb.source_table"}, want: capacity{2, 3, 9872}},
		{
			name:    "impossible",
			change:  func(s *proxy.Spec) { s.MaxConnections, s.Workers = 100_000, 3 },
			wantErr: "lb.workers: 3 workers cannot hold 100000 connections with 20000 open files each",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			next := old
			test.change(&next)
			var r proxy.Reloaded
			got, err := m.fit(&next, &effective{spec: old, capacity: c}, &r)
			if test.wantErr != "" {
				if err == nil || err.Error() != test.wantErr {
					t.Errorf("got %v, want %s", err, test.wantErr)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
			wantKeys(t, r.Restart, test.restart...)
			again, err := planCapacity(&next, c.workers, m.nofile)
			if err != nil || again.workers != got.workers || again.most > got.most || again.perWorker != got.perWorker {
				t.Errorf("the spec left over plans %+v, %v", again, err)
			}
		})
	}
}

func TestBadReloadChangesNothing(t *testing.T) {
	nodes := proxytest.StartNodes(t, 1)
	taken := occupied(t)
	for name, test := range map[string]struct {
		change func(b *balancer, s *proxy.Spec)
		want   string
	}{
		"invalid": {func(_ *balancer, s *proxy.Spec) { s.Checks.Fall = 0 }, "lb.checks.fall: must be from 1 to 100, is 0"},
		"unread":  {func(b *balancer, _ *proxy.Spec) { b.bad = errors.New("erlmcp.yaml: permission denied") }, "erlmcp.yaml: permission denied"},
		"tcp":     {func(_ *balancer, s *proxy.Spec) { s.Listen.TCP = taken }, "lb.listen.tcp: "},
		"admin":   {func(_ *balancer, s *proxy.Spec) { s.Listen.Admin = taken }, "lb.listen.admin: "},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, nodes, nil)
			c := b.dial()
			c.Ask("hello")
			before := b.stats()
			b.edit(func(s *proxy.Spec) { s.Limits.MaxPerSource = 1; test.change(b, s) })
			_, err := b.Reload(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Fatalf("got %v, want %s…", err, test.want)
			}
			c.Ask("still here")
			b.dial().Ask("hello")
			s := b.stats()
			if s.Reload == nil || s.Reload.OK || s.Reload.Error != err.Error() {
				t.Errorf("the reload is told as %+v", s.Reload)
			}
			if !reflect.DeepEqual(s.Listeners, before.Listeners) || len(s.Workers) != len(before.Workers) {
				t.Errorf("listeners went from %+v to %+v", before.Listeners, s.Listeners)
			}
			if !strings.Contains(b.log.String(), "not reloaded") {
				t.Error("the log does not tell")
			}
		})
	}
}

// Where one address cannot be had, the others that were opened for it are closed.
func TestReloadOpensAllOrNothing(t *testing.T) {
	taken := occupied(t)
	free, err := net.Listen("tcp", "127.0.0.93:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	b.edit(func(s *proxy.Spec) { s.Listen.TCP, s.Listen.Admin = free.Addr().String(), taken })
	if _, err := b.Reload(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "lb.listen.admin: ") {
		t.Errorf("got %v", err)
	}
	if c, err := net.Dial("tcp", free.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("somebody listens there: %v, %v", c, err)
	}
	b.dial().Ask("hello")
}

func TestHangupReloads(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	b.edit(func(s *proxy.Spec) { s.MaxConnections = 77 })
	b.signals <- syscall.SIGHUP
	b.eventually("the reload", func(s *proxy.Stats) bool { return s.Connections.Max == 77 && s.Reload != nil && s.Reload.OK })
}

func TestReloadWithoutConfiguration(t *testing.T) {
	s := testSpec(proxytest.StartNodes(t, 1)...)
	b := newBalancer(t, s)
	ready := make(chan struct{})
	o := b.options(func() { close(ready) })
	o.Load = nil
	go func() { b.done <- Serve(t.Context(), s, o) }()
	<-ready
	var refused *control.Error
	if _, err := b.Reload(t.Context()); !errors.As(err, &refused) || err.Error() != errNoReload.Error() {
		t.Errorf("got %v", err)
	}
	if err := b.StopNow(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-b.done; err != nil {
		t.Error(err)
	}
}

func TestFirstSignalDrains(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	c := b.dial()
	c.Ask("hello")
	health, tcp := b.address("health"), b.address("tcp")
	b.signals <- os.Interrupt
	b.eventually("draining", func(s *proxy.Stats) bool { return s.State == proxy.StateDraining })
	b.eventually("newcomers to be refused", func(*proxy.Stats) bool {
		conn, err := net.Dial("tcp", tcp)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	c.Ask("still here")
	resp, err := http.Get("http://" + health + "/health")
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("health while draining: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if _, err := b.Reload(t.Context()); err == nil || err.Error() != errDraining.Error() {
		t.Errorf("reload while draining: %v", err)
	}
	c.Close()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	b.done <- nil // for the clean-up
	http.DefaultClient.CloseIdleConnections()
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	b.dial().Ask("hello")
	b.signals <- syscall.SIGTERM
	b.eventually("draining", func(s *proxy.Stats) bool { return s.State == proxy.StateDraining })
	b.signals <- syscall.SIGTERM
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	b.done <- nil
}

// A signal that ends the context arrives a second time, as itself.
func TestEchoOfTheFirstSignal(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	c := b.dial()
	c.Ask("hello")
	b.cancel()
	b.eventually("draining", func(s *proxy.Stats) bool { return s.State == proxy.StateDraining })
	b.signals <- syscall.SIGTERM
	for range 20 {
		c.Ask("still here")
	}
}

func TestDrainEndsInTime(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Timeouts.Drain = 100 * time.Millisecond })
	c := b.dial()
	c.Ask("hello")
	var left []int64
	start := time.Now()
	if err := b.Stop(t.Context(), func(n int64) { left = append(left, n) }); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < 100*time.Millisecond || took > proxy.Default().Timeouts.Drain {
		t.Errorf("took %v", took)
	}
	if len(left) == 0 || left[0] != 1 {
		t.Errorf("told of %v connections left", left)
	}
	if _, err := c.Reader.ReadByte(); err == nil {
		t.Error("the client is still served")
	}
	if _, err := b.Stats(t.Context()); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestStopWithoutClients(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	start := time.Now()
	if err := b.Stop(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > proxy.Default().Timeouts.Drain {
		t.Errorf("an idle balancer took %v to stop, as if it had a client", took)
	}
	if err := b.Stop(t.Context(), nil); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("stopping again: %v", err)
	}
}

// A worker that ends with a reload on its way to it does not keep the balancer from ending.
func TestStopDuringReload(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	pid := b.stats().Workers[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	b.edit(func(s *proxy.Spec) { s.MaxConnections = 77 })
	b.signals <- syscall.SIGHUP
	b.eventually("the reload to wait for the worker", func(s *proxy.Stats) bool { return s.Connections.Max == 77 })
	if err := b.Stop(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if strings.Contains(b.log.String(), "have not taken over") {
		t.Errorf("it waited for a worker that had ended: %s", b.log)
	}
}

// Each key that differs is listed, and no other: by the names that a reader of YAML without a schema sees.
func TestChangedKeys(t *testing.T) {
	one := ofFour()
	one.Nodes = []topology.Node{{Name: "a", Host: "127.0.0.1", TCP: 1}}
	if got := changedKeys(one, one); len(got) != 0 {
		t.Errorf("of the same: %v", got)
	}
	for _, place := range leaves(reflect.ValueOf(&one).Elem(), nil) {
		other := one
		v := reflect.ValueOf(&other).Elem().FieldByIndex(place)
		switch v.Kind() {
		case reflect.Slice:
			v.Set(reflect.Append(v.Slice3(0, v.Len(), v.Len()), reflect.Zero(v.Type().Elem())))
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			v.SetInt(v.Int() + int64(time.Hour))
		}
		want := differing("lb", asTree(t, one), asTree(t, other))
		if got := changedKeys(one, other); len(want) != 1 || !slices.Equal(got, want) {
			t.Errorf("%v changed, want %v", got, want)
		}
	}
	none, bare := one, one
	none.Nodes, bare.Nodes = []topology.Node{}, nil
	if got := changedKeys(none, bare); len(got) != 0 {
		t.Errorf("of two without nodes: %v", got)
	}
	if got := changedKeys(bare, one); !slices.Equal(got, []string{"lb.nodes"}) {
		t.Errorf("of the first node: %v", got)
	}
}

// leaves are the places of the fields that are no sections.
func leaves(v reflect.Value, at []int) (list [][]int) {
	if v.Kind() != reflect.Struct {
		return [][]int{at}
	}
	for i := range v.NumField() {
		list = append(list, leaves(v.Field(i), append(slices.Clone(at), i))...)
	}
	return list
}

func asTree(t *testing.T, s proxy.Spec) (tree map[string]any) {
	t.Helper()
	text, err := yaml.Marshal(s)
	if err == nil {
		err = yaml.Unmarshal(text, &tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func differing(path string, a, b any) (list []string) {
	left, ok := a.(map[string]any)
	if !ok {
		if !reflect.DeepEqual(a, b) {
			list = append(list, path)
		}
		return list
	}
	for key := range left {
		list = append(list, differing(path+"."+key, left[key], b.(map[string]any)[key])...)
	}
	return list
}

// ofFour is a configuration of four nodes.
func ofFour() proxy.Spec {
	s := proxy.Default()
	s.Nodes = topology.Default(4)
	return s
}
