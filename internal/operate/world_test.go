package operate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// world is a cluster, a balancer and a program that are not there. What is ordered of them and told is noted.
type world struct {
	t     *testing.T
	notes []string

	supervisor int // pid; 0: none runs
	nodes      []topology.Node
	states     map[string]cluster.Status // of one node each
	configured cluster.Spec
	inPlace    bool

	balancer *proxy.Stats         // nil: none runs
	leaves   time.Duration        // after which clients of a drained node have gone
	asked    func(*proxy.Stats)   // called when the balancer is asked, before it answers
	refuse   map[string]error     // by what is ordered, "restart n1"
	since    map[string]time.Time // when a node was drained
}

func newWorld(t *testing.T, nodes int) (*world, *Operator) {
	w := &world{
		t: t, supervisor: 7, nodes: topology.Default(nodes), refuse: map[string]error{}, since: map[string]time.Time{},
		balancer: &proxy.Stats{PID: 9, State: proxy.StateRunning},
	}
	w.states = map[string]cluster.Status{}
	w.configured = cluster.Spec{Nodes: topology.Default(nodes)}
	for i, n := range w.nodes {
		w.set(n.Name, cluster.StateReady, 100+i)
		w.balancer.Nodes = append(w.balancer.Nodes, proxy.NodeStats{
			Name: n.Name, Address: n.TCPAddress(), State: proxy.NodeUp, Check: proxy.CheckStats{Up: true, OK: true},
		})
	}
	return w, &Operator{Cluster: w, Balancer: balancer{w}, Program: w, Tell: func(e Event) {
		if _, drawn := e.(Draining); !drawn {
			w.note("told %T %v", e, told(e))
		}
	}}
}

// told is an event without the times that it took.
func told(e Event) any {
	switch e := e.(type) {
	case Change:
		text := fmt.Sprint(e.Action, e.Names)
		if e.Planned {
			text = "would " + text
		}
		if e.Whole {
			text += " all"
		}
		return text
	case BalancerRuns:
		return e.Stats.PID
	case RestartedInPlace:
		return e.Names
	}
	return e
}

func (w *world) note(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "operate.", "")
	w.notes = append(w.notes, strings.ReplaceAll(text, "erlmcp", "n"))
}

// expect compares what was noted since the last time.
func (w *world) expect(want ...string) {
	w.t.Helper()
	if got := strings.Join(w.notes, "\n"); got != strings.Join(want, "\n") {
		w.t.Errorf("noted:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	w.notes = nil
}

// do notes an order, and refuses it if it is to be.
func (w *world) do(format string, args ...any) error {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "erlmcp", "n")
	w.note("%s", text)
	return w.refuse[text]
}

func (w *world) set(name string, state cluster.State, pid int) {
	w.states[name] = cluster.Status{Nodes: []cluster.NodeStatus{{Name: name, State: state, PID: pid}}}
}

func gone(daemon string) error { return fmt.Errorf("%s is %w", daemon, control.ErrNotRunning) }

func (w *world) Status(context.Context) (s cluster.Status, err error) {
	if w.supervisor == 0 {
		return s, gone("cluster")
	}
	s.PID = w.supervisor
	for _, n := range w.nodes {
		s.Nodes = append(s.Nodes, w.states[n.Name].Nodes...)
	}
	return s, nil
}

func (w *world) Spec(context.Context) (s cluster.Spec, err error) {
	if w.supervisor == 0 {
		return s, gone("cluster")
	}
	return cluster.Spec{Nodes: append([]topology.Node{}, w.nodes...)}, nil
}

func (w *world) AddNodes(_ context.Context, nodes []topology.Node) error {
	if err := w.do("add %v", topology.Names(nodes)); err != nil {
		return err
	}
	for _, n := range nodes {
		w.nodes = append(w.nodes, n)
		w.set(n.Name, cluster.StateReady, 300+len(w.nodes))
	}
	return nil
}

func (w *world) RemoveNodes(_ context.Context, names []string) error { return w.do("remove %v", names) }

func (w *world) StopNodes(_ context.Context, names []string) error {
	if w.supervisor == 0 {
		return gone("cluster")
	}
	err := w.do("stop %v", names)
	for _, name := range names {
		w.down(name)
	}
	return err
}

// down has a node end, which the balancer finds.
func (w *world) down(name string) {
	w.set(name, cluster.StateStopped, 0)
	if n := w.balanced(name); n != nil {
		n.Check = proxy.CheckStats{Error: "connection refused"}
	}
}

func (w *world) balanced(name string) *proxy.NodeStats {
	if w.balancer == nil {
		return nil
	}
	return w.balancer.Node(name)
}

func (w *world) RestartNodes(_ context.Context, names []string) error {
	if err := w.do("restart %v", names); err != nil {
		return err
	}
	for _, name := range names {
		w.set(name, cluster.StateReady, 200)
	}
	return nil
}

func (w *world) DrainNodes(_ context.Context, names []string) error {
	return w.do("announce %v", names)
}
func (w *world) ResumeNodes(_ context.Context, names []string) error { return w.do("resume %v", names) }

func (w *world) Shutdown(context.Context) error {
	if w.supervisor == 0 {
		return gone("cluster")
	}
	err := w.do("shutdown")
	w.supervisor = 0
	for _, n := range w.nodes {
		w.down(n.Name)
	}
	return err
}

func (w *world) Configured() (*cluster.Spec, error) { return &w.configured, nil }
func (w *world) NodesFit() error                    { return w.refuse["nodes fit"] }
func (w *world) Fits() error                        { return w.refuse["fits"] }

func (w *world) StartNodes(_ context.Context, names []string) error {
	if err := w.do("start %v", names); err != nil {
		return err
	}
	if w.supervisor == 0 {
		w.supervisor, w.nodes = 8, w.configured.Nodes
	}
	if len(names) == 0 {
		names = topology.Names(w.nodes)
	}
	for i, name := range names {
		if s := w.states[name]; len(s.Nodes) == 0 || !s.Nodes[0].State.Serves() {
			w.set(name, cluster.StateReady, 400+i)
		}
		if n := w.balanced(name); n != nil {
			n.Check = proxy.CheckStats{Up: true, OK: true}
		}
	}
	return nil
}

func (w *world) PrepareRestart(context.Context) (bool, error) {
	if w.supervisor == 0 {
		return false, gone("cluster")
	}
	return w.inPlace, w.do("prepare restart")
}

func (w *world) RestartInPlace(context.Context) error { return w.do("restart in place") }

func (w *world) StartBalancer(context.Context) error {
	if err := w.do("start lb"); err != nil {
		return err
	}
	w.balancer = &proxy.Stats{PID: 10, State: proxy.StateRunning}
	return nil
}

func (w *world) StopBalancer(_ context.Context, now bool) error { return w.do("stop lb %v", now) }
func (w *world) BalancerRuns() bool                             { return w.balancer != nil }

// balancer is that of a world: clients leave a node some time after it was drained.
type balancer struct{ w *world }

func (b balancer) Stats(context.Context) (proxy.Stats, error) {
	w := b.w
	if w.asked != nil && w.balancer != nil {
		w.asked(w.balancer)
	}
	if w.balancer == nil {
		return proxy.Stats{}, gone("lb")
	}
	for name, at := range w.since {
		if n := w.balanced(name); n != nil && time.Since(at) >= w.leaves {
			n.Connections = 0
		}
	}
	s := *w.balancer
	s.Nodes = append([]proxy.NodeStats{}, s.Nodes...)
	return s, nil
}

func (b balancer) to(verb, name, state string) (proxy.NodeStats, error) {
	if b.w.balancer == nil {
		return proxy.NodeStats{}, gone("lb")
	}
	if err := b.w.do("%s %s", verb, name); err != nil {
		return proxy.NodeStats{}, err
	}
	n := b.w.balanced(name)
	if n == nil {
		return proxy.NodeStats{}, &control.Error{Message: "unknown node " + name, Exit: 2}
	}
	n.State = state
	if state == proxy.NodeDraining {
		b.w.since[name] = time.Now()
	}
	return *n, nil
}

func (b balancer) Drain(_ context.Context, name string) (proxy.NodeStats, error) {
	return b.to("drain", name, proxy.NodeDraining)
}

func (b balancer) Disable(_ context.Context, name string) (proxy.NodeStats, error) {
	return b.to("disable", name, proxy.NodeMaintenance)
}

func (b balancer) Enable(_ context.Context, name string) (proxy.NodeStats, error) {
	return b.to("enable", name, proxy.NodeUp)
}

func (b balancer) Reload(context.Context) (r proxy.Reloaded, err error) {
	if b.w.balancer == nil {
		return r, gone("lb")
	}
	return r, b.w.do("reload")
}
