package operate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// inWorld runs a test in a world of so many nodes, whose time passes when everybody waits.
func inWorld(t *testing.T, nodes int, test func(t *testing.T, w *world, o *Operator)) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t, nodes)
		test(t, w, o)
	})
}

func hintOf(err error) string {
	hint, _ := advice.Of(err)
	return hint
}

func TestStopDrained(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		w.balancer.Nodes[1].Connections, w.leaves = 3, 4*time.Second
		begin := time.Now()
		if err := o.StopDrained(t.Context(), []string{"erlmcp2"}, time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		w.expect("drain n2", "announce [n2]", "disable n2", "stop [n2]", "told Change stop[n2]", "enable n2", "resume [n2]")
	})
}

// Clients that do not leave are cut off in the end.
func TestStopCutsWhoDoesNotLeave(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		n := &w.balancer.Nodes[0]
		n.Connections, n.Pending, w.leaves = 3, 1, time.Hour
		begin := time.Now()
		if err := o.StopDrained(t.Context(), []string{"erlmcp1"}, time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < time.Minute+requestPatience || took > time.Minute+requestPatience+time.Second {
			t.Errorf("took %v", took)
		}
		w.expect("drain n1", "announce [n1]", "disable n1", "told Cut {n1 3 1}", "stop [n1]", "told Change stop[n1]", "enable n1", "resume [n1]")
	})
}

func TestStopWithoutBalancer(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		w.balancer = nil
		if err := o.StopDrained(t.Context(), nil, time.Minute); err != nil {
			t.Error(err)
		}
		w.expect("shutdown", "told Change stop[n1 n2] all")
		if err := o.StopDrained(t.Context(), nil, time.Minute); err != nil {
			t.Error(err)
		}
		w.expect("told NotRunning {}")
		var unknown *topology.UnknownError
		if err := o.StopDrained(t.Context(), []string{"erlmcp3"}, time.Minute); !errors.As(err, &unknown) {
			t.Error(err)
		}
		w.expect()
	})
}

// What an operator has taken out of service stays so; what a command before this one had drained does not.
func TestStopRestoresWhatWas(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world, o *Operator) {
		w.balancer.Nodes[0].State = proxy.NodeMaintenance
		w.balancer.Nodes[1].State = proxy.NodeDraining
		w.balancer.Nodes[2].State = proxy.NodeDraining
		w.set("erlmcp3", cluster.StateDraining, 102)
		if err := o.StopDrained(t.Context(), nil, time.Minute); err != nil {
			t.Error(err)
		}
		w.expect("announce [n1]", "drain n2", "announce [n2]", "drain n3", "announce [n3]", "disable n1", "disable n2", "disable n3",
			"shutdown", "told Change stop[n1 n2 n3] all",
			"disable n1", "resume [n1]", "drain n2", "resume [n2]", "enable n3", "resume [n3]")
	})
}

// That draining fails does not keep nodes from being stopped; that somebody has lost patience does.
func TestStopWithoutDraining(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, o *Operator) {
		w.refuse["drain n1"] = errors.New("no")
		if err := o.StopDrained(t.Context(), []string{"erlmcp1"}, time.Minute); err != nil {
			t.Error(err)
		}
		w.expect("drain n1", "told Undrained {no}", "stop [n1]", "told Change stop[n1]", "enable n1", "resume [n1]")
	})
	inWorld(t, 1, func(t *testing.T, w *world, o *Operator) {
		w.balancer.Nodes[0].Connections, w.leaves = 1, time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.StopDrained(ctx, []string{"erlmcp1"}, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		w.expect("drain n1", "announce [n1]", "enable n1", "resume [n1]")
	})
}

func TestRoll(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		if err := o.Roll(t.Context(), nil, time.Second); err != nil {
			t.Error(err)
		}
		w.expect("drain n1", "announce [n1]", "disable n1", "restart [n1]", "enable n1", "resume [n1]", "told Change restart[n1]",
			"drain n2", "announce [n2]", "disable n2", "restart [n2]", "enable n2", "resume [n2]", "told Change restart[n2]")
	})
}

// Two nodes are never out at a time, whoever says so, and what has failed is not gone on with.
func TestRollStops(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		text   string
		hint   string
		orders string // in the notes
	}{
		"another one does not run": {func(w *world) { w.set("erlmcp2", cluster.StateBackoff, 0) },
			"restarted 0 of 1 nodes: erlmcp1 cannot be taken out while erlmcp2 is (backoff)", "", ""},
		"or an operator has it out": {func(w *world) { w.balancer.Nodes[1].State = proxy.NodeMaintenance },
			"restarted 0 of 1 nodes: erlmcp1 cannot be taken out while erlmcp2 is (maintenance at the balancer)", "erlmcp lb enable erlmcp2", ""},
		"or checks have": {func(w *world) {
			w.balancer.Nodes[1].State, w.balancer.Nodes[1].Check = proxy.NodeDown, proxy.CheckStats{Error: "refused"}
		}, "restarted 0 of 1 nodes: erlmcp1 cannot be taken out while erlmcp2 is (down at the balancer: refused)", "", ""},
		"it does not come back": {func(w *world) { w.refuse["restart [n1]"] = errors.New("it died") },
			"restarted 0 of 1 nodes: it died", "", "enable n1"},
		"the balancer does not find it": {func(w *world) {
			w.balancer.Nodes[0].Check = proxy.CheckStats{Error: "no answer"}
		}, "restarted 0 of 1 nodes: after 30s the balancer still has erlmcp1 up: no answer", "", "enable n1"},
		"nothing runs": {func(w *world) { w.supervisor = 0 }, "cluster is not running", "erlmcp cluster start", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
				c.change(w)
				err := o.Roll(t.Context(), []string{"erlmcp1"}, time.Second)
				if err == nil || err.Error() != c.text || hintOf(err) != c.hint {
					t.Errorf("%v, hint %q", err, hintOf(err))
				}
				if notes := strings.Join(w.notes, "\n"); !strings.Contains(notes, c.orders) || strings.Contains(notes, "told Change") {
					t.Errorf("noted:\n%s", notes)
				}
			})
		})
	}
}

// A node that the checks find again in time does not end it.
func TestRollWaitsForChecks(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		begin := time.Now()
		w.balancer.Nodes[1].State = proxy.NodeSilent
		w.asked = func(s *proxy.Stats) {
			if n := s.Node("erlmcp2"); n.State == proxy.NodeSilent && time.Since(begin) > 20*time.Second {
				n.State = proxy.NodeUp
			}
		}
		if err := o.Roll(t.Context(), []string{"erlmcp1"}, time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestScale(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		w.balancer.Nodes = append(w.balancer.Nodes, proxy.NodeStats{Name: "west", Check: proxy.CheckStats{Up: true}})
		if err := o.Add(t.Context(), func(n *topology.Node) { n.Name = "west" }); err != nil {
			t.Error(err)
		}
		w.expect("add [west]", "told Change add[west]", "reload", "enable west")
		if err := o.Remove(t.Context(), []string{"west"}, time.Second); err != nil {
			t.Error(err)
		}
		w.expect("drain west", "announce [west]", "disable west", "remove [west]", "told Change remove[west]", "reload")
		w.refuse["remove [n1]"] = errors.New("one must stay")
		if err := o.Remove(t.Context(), []string{"erlmcp1"}, time.Second); err == nil || err.Error() != "one must stay" {
			t.Error(err)
		}
		w.expect("drain n1", "announce [n1]", "disable n1", "remove [n1]", "enable n1", "resume [n1]")
	})
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) { // a balancer with nodes of its own
		if err := o.StartSized(t.Context(), 3); err != nil {
			t.Error(err)
		}
		w.expect("add [n3]", "told Change add[n3]", "reload", "enable n3", "start []", "told AlreadyRunning {[n1 n2 n3]}")
		if len(w.configured.Nodes) != 3 || w.configured.Resized {
			t.Errorf("%+v", w.configured)
		}
	})
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		w.supervisor = 0
		if err := o.StartSized(t.Context(), 1); err != nil {
			t.Error(err)
		}
		if w.expect("start []", "told Change start[n1]", "reload"); !w.configured.Resized {
			t.Error("the cluster does not know that it is another size than configured")
		}
	})
}

func TestRestart(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		if err := o.Restart(t.Context(), nil); err != nil {
			t.Error(err)
		}
		w.expect("prepare restart", "shutdown", "told Change stop[n1 n2] all", "start []", "told Change start[n1 n2]", "reload")
		w.inPlace = true
		if err := o.Restart(t.Context(), nil); err != nil {
			t.Error(err)
		}
		w.expect("prepare restart", "restart in place", "told RestartedInPlace [n1 n2]", "reload")
		w.inPlace, w.refuse["nodes fit"] = false, errors.New("too few threads")
		if err := o.Restart(t.Context(), nil); err == nil || w.supervisor == 0 {
			t.Errorf("%v: what cannot be started again is stopped", err)
		}
		w.expect("prepare restart")
	})
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		w.refuse["restart [n1]"] = gone("cluster")
		w.set("erlmcp1", cluster.StateStopped, 0)
		if err := o.Restart(t.Context(), []string{"erlmcp1"}); err != nil {
			t.Error(err)
		}
		w.expect("restart [n1]", "start [n1]", "told Change start[n1]", "reload")
	})
}

// A balancer that has a node elsewhere is not waited for.
func TestMisplacedNode(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, o *Operator) {
		w.supervisor = 0
		w.balancer.Nodes[0].Address = "127.0.0.1:1"
		w.asked = func(s *proxy.Stats) { s.Nodes[0].Check = proxy.CheckStats{Error: "refused"} }
		begin := time.Now()
		if _, err := o.Up(t.Context()); err != nil || time.Since(begin) > time.Second {
			t.Errorf("%v, after %v", err, time.Since(begin))
		}
		w.expect("start []", "told Change start[n1]", "reload", "told Misplaced {n1 127.0.0.1:1}", "told BalancerRuns 9")
	})
}

func TestUp(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		w.supervisor, w.balancer = 0, nil
		ctx, cancel := context.WithCancel(t.Context())
		takeDown, err := o.Up(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.expect("start []", "told Change start[n1 n2]", "start lb")
		cancel()
		if err := takeDown(ctx); err != nil {
			t.Error(err)
		}
		w.expect("stop lb false", "shutdown", "told Change stop[n1 n2] all")
	})
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) { // what ran stays
		w.set("erlmcp2", cluster.StateHeld, 0)
		takeDown, err := o.Up(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.expect("start []", "told AlreadyRunning {[n1]}", "told Change start[n2]", "reload", "told BalancerRuns 9")
		if err := takeDown(t.Context()); err != nil {
			t.Error(err)
		}
		w.expect("stop [n2]", "told Change stop[n2]")
	})
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) { // a step that fails undoes those before
		w.supervisor, w.balancer = 0, nil
		w.refuse["start lb"] = errors.New("address in use")
		if _, err := o.Up(t.Context()); err == nil || err.Error() != "address in use" {
			t.Error(err)
		}
		w.expect("start []", "told Change start[n1 n2]", "start lb", "shutdown", "told Change stop[n1 n2] all")
	})
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		w.refuse["fits"] = errors.New("too few threads")
		if _, err := o.Up(t.Context()); err == nil {
			t.Error("is begun")
		}
		w.expect()
	})
}

// One that drains is waited for, and not for ever.
func TestUpWhileTheBalancerEnds(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, o *Operator) {
		w.balancer.State = proxy.StateDraining
		begin := time.Now()
		_, err := o.Up(t.Context())
		if !errors.Is(err, control.ErrRunning) || !strings.Contains(hintOf(err), "erlmcp lb stop --now") || time.Since(begin) < balancerPatience {
			t.Errorf("%v, hint %q, after %v", err, hintOf(err), time.Since(begin))
		}
	})
	inWorld(t, 1, func(t *testing.T, w *world, o *Operator) {
		w.balancer.State = proxy.StateDraining
		begin := time.Now()
		w.asked = func(*proxy.Stats) {
			if time.Since(begin) > 3*time.Second {
				w.balancer = nil
			}
		}
		if _, err := o.Up(t.Context()); err != nil {
			t.Error(err)
		}
		w.expect("start []", "told AlreadyRunning {[n1]}", "start lb")
	})
}

func TestDryRun(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world, o *Operator) {
		o.DryRun = true
		w.configured = cluster.Default()
		w.set("erlmcp3", cluster.StateHeld, 0)
		for _, order := range []func() error{
			func() error { return o.Start(t.Context(), nil) },
			func() error { return o.Add(t.Context(), func(*topology.Node) {}) },
			func() error { return o.Remove(t.Context(), []string{"erlmcp1"}, time.Second) },
			func() error { return o.StartSized(t.Context(), 2) },
			func() error { return o.stop(t.Context(), []string{"erlmcp3"}) },
			func() error { return o.StopDrained(t.Context(), nil, time.Second) },
			func() error { return o.PlanRestart(t.Context(), nil, true) },
		} {
			if err := order(); err != nil {
				t.Error(err)
			}
		}
		w.expect("told AlreadyRunning {[n1 n2]}", "told Change would start[n3]", "told Change would add[n4]", "told Change would remove[n1]",
			"told Change would remove[n3]", "told Change would stop[]", "told Change would stop[n1 n2] all", "told Change would restart[n1 n2] all")
		err := o.Add(t.Context(), func(n *topology.Node) { n.Name = "erlmcp1" })
		if _, code := advice.Of(err); code != 2 {
			t.Error(err)
		}
	})
}

func TestRunningNodes(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, o *Operator) {
		configured := topology.Default(1)
		configured[0].Weight = 5
		got := o.RunningNodes(t.Context(), configured)
		if len(got) != 2 || got[0].Weight != 5 || got[1].Weight != 0 {
			t.Errorf("%+v", got)
		}
		w.supervisor = 0
		if got := o.RunningNodes(t.Context(), configured); len(got) != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// lifeline is that of a keeper: reading ends when it is cut.
type lifeline chan struct{}

func (l lifeline) Read([]byte) (int, error) {
	<-l
	return 0, errors.New("cut")
}

func TestKeep(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, o *Operator) {
		w.supervisor, w.balancer = 0, nil
		var said strings.Builder
		line := make(lifeline)
		time.AfterFunc(time.Hour, func() { close(line) })
		begin := time.Now()
		if err := o.keep(t.Context(), line, &said); err != nil || said.String() != "ready\n" || time.Since(begin) != time.Hour {
			t.Errorf("%v, %q, after %v", err, &said, time.Since(begin))
		}
		w.expect("start []", "told Change start[n1]", "start lb", "stop lb false", "shutdown", "told Change stop[n1] all")
	})
}
