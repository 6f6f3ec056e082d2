package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sync/errgroup"

	"github.com/erlmcp/erlmcp/cluster/internal/process"
	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// SupervisorOptions are what a supervisor needs beside the Spec.
type SupervisorOptions struct {
	StateDir string
	Names    []string // nodes to start at once; none means all
	NodeArgs []string // global flags for nodes that are this program

	// Load reads the specification anew, for a restart in place; nil when there is none: whoever has started the
	// supervisor starts another one.
	Load func() (Spec, error)

	Log *log.Logger

	runtime Runtime // for tests; nil is the Spec's
	probe   prober  // for tests; nil is the runtime's
	pace    pace    // for tests; zero is the default
}

// crashPatience is how long ports are waited for that nodes of a killed supervisor held: a process
// with tens of thousands of sockets takes a while to die.
const crashPatience = 5 * time.Second

// Supervise is the supervisor's process: it starts the nodes, keeps them running, serves the
// control socket, and when ctx ends or it is asked to, takes everything down. The error says why
// the first start failed; then nothing is left running. It reports to [daemon.Start].
func Supervise(ctx context.Context, spec Spec, o SupervisorOptions) (err error) {
	defer func() {
		if err != nil {
			daemon.Fail(err)
		}
	}()
	instance, err := control.Acquire(o.StateDir, daemonName)
	if err != nil {
		return err
	}
	var waiting *os.File // for a restart in place
	defer func() {
		if waiting != nil {
			err = becomeAgain(ctx, instance, waiting)
		}
		err = errors.Join(err, instance.Close())
	}()
	o.StateDir = instance.Dir() // one name, whatever it was started by: orphans are found by it
	s, err := newSupervisor(spec, o)
	if err != nil {
		return err
	}
	defer s.close()
	if err := instance.Serve(s.handler(), s.log.Warn); err != nil {
		return err
	}
	go daemon.Watch(s.life, s.alive, s.log)
	patience := time.Duration(0)
	// Nodes are stopped, not adopted. Where somebody has removed the lock, nothing else tells of them.
	if found := process.EndOrphans(clusterMark(o.StateDir)); found || instance.Crashed() {
		patience = crashPatience
	}
	defer context.AfterFunc(ctx, s.shutdown)() // at once, so that nobody starts what is about to be stopped
	if _, err := s.bringUp(ctx, o.Names, patience); err != nil {
		if waiting = s.endForAgain(ctx); waiting != nil {
			return nil
		}
		s.takeDown()
		return err
	}
	s.opened()
	go prefork.KeepSmall(s.life, nil)
	if err := daemon.Ready(); err != nil {
		s.log.Debug("nobody waits for the start", "err", err)
	}
	select {
	case <-ctx.Done():
	case <-s.closing:
	}
	if waiting = s.endForAgain(ctx); waiting != nil {
		return nil
	}
	running := s.currentSpec()
	if err := daemon.Stopping(running.StopsWithin()); err != nil {
		s.log.Debug("nobody waits for the end", "err", err)
	}
	s.takeDown()
	return nil
}

// clusterMark is the entry in the environment that tells whose a process is, whatever becomes of its
// parents.
func clusterMark(stateDir string) string { return "ERLMCP_SUPERVISED_BY=" + stateDir }

// becomeAgain executes the program anew, which keeps the lock and tells waiting what becomes of it. It returns only
// when that is not possible, or ctx has ended: a signal that came before would be forgotten.
func becomeAgain(ctx context.Context, instance *control.Instance, waiting *os.File) error {
	env, err := instance.Bequeath(daemonName)
	if err != nil || ctx.Err() != nil {
		waiting.Close()
		return err
	}
	return daemon.Become(waiting, env)
}

// supervisor is all nodes of a running cluster.
type supervisor struct {
	spec        Spec // as it was at the start; see currentSpec
	options     SupervisorOptions
	configured  bool // the runtime is the Spec's
	register    *register
	launcher    *process.Launcher
	containment Containment
	log         *log.Logger

	// beginning is held while it is found out which nodes must be started, until they have been
	// told so: two starts at the same time must not find each other's ports taken.
	beginning sync.Mutex

	// asking is held while it is found out whether a restart in place can be: of two that are asked for, the second
	// finds the cluster stopping.
	asking sync.Mutex

	// scaling is held while nodes are added or removed.
	scaling sync.Mutex

	mu       sync.Mutex
	machines []*machine // in the order of the cluster; see all
	phase    Phase
	closing  chan struct{} // closed when the end has been asked for
	waiting  *os.File      // who waits for a restart in place; nil: it just ends

	life         context.Context // of the machines
	stopMachines context.CancelFunc
	surveyor     *surveyor      // nil when nodes do not know each other
	surveys      sync.WaitGroup // its goroutine
}

// newSupervisor makes the machines of all nodes; they start nothing yet.
func newSupervisor(spec Spec, o SupervisorOptions) (*supervisor, error) {
	configured := o.runtime == nil
	if configured {
		var err error
		if o.runtime, err = runtimeOf(spec, o.StateDir, o.NodeArgs); err != nil {
			return nil, err
		}
	}
	if o.probe == nil {
		o.probe = o.runtime.Ready
	}
	if o.pace == (pace{}) {
		o.pace = spec.pace()
	}
	if _, err := pick(spec.Nodes, o.Names); err != nil {
		return nil, err
	}
	if err := process.AdoptOrphans(); err != nil {
		o.Log.Warn("processes left by a node that died will not be waited for", "err", err)
	}
	cage, err := contain(spec.Containment, o.StateDir, o.Log)
	if err != nil {
		return nil, err
	}
	launcher, err := process.NewLauncher(process.Options{
		Mark: clusterMark(o.StateDir), Cage: cage, Files: spec.OpenFiles, Nice: spec.Nice,
	})
	if err != nil {
		cage.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &supervisor{
		spec: spec, options: o, configured: configured, register: newRegister(), launcher: launcher, containment: containmentBy(cage), log: o.Log,
		phase: PhaseStarting, closing: make(chan struct{}),
		life: ctx, stopMachines: cancel,
	}
	for _, n := range spec.Nodes {
		if err := s.adopt(n); err != nil {
			s.close()
			return nil, err
		}
	}
	if nodes, ok := o.runtime.(mesh); ok {
		s.surveyor = &surveyor{mesh: nodes, machines: s.all, register: s.register, pause: o.pace.survey}
		s.surveys.Go(func() { s.surveyor.run(ctx) })
	}
	return s, nil
}

func (s *supervisor) newMachine(n topology.Node) (*machine, error) {
	o := s.options
	program, err := o.runtime.Program(n)
	if err != nil {
		return nil, err
	}
	program.Mark, program.Cgroup = "ERLMCP_NODE="+n.Name, "node-"+n.Name
	dir := LogDir(o.StateDir, s.spec)
	warn := func(text string) { o.Log.Warn(text, "log", nodelog.Path(dir, n.Name)) }
	output, err := nodelog.Open(dir, n.Name, s.spec.Logs, warn)
	if err != nil {
		return nil, err
	}
	m := &machine{
		node: n, program: program, launcher: s.launcher, probe: o.probe, pace: o.pace,
		live: s.spec.Liveness, output: output, publish: s.register.set, log: o.Log,
		orders: make(chan order), over: make(chan struct{}),
		status: newNodeStatus(n, output.Path()),
	}
	m.publish(m.status)
	return m, nil
}

// close kills what still runs and frees everything.
func (s *supervisor) close() {
	s.stopMachines()
	s.surveys.Wait()
	for _, m := range s.all() {
		<-m.over
		m.output.Close()
	}
	s.launcher.Close()
}

// opened says that the first nodes are ready.
func (s *supervisor) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == PhaseStarting {
		s.phase = PhaseRunning
	}
}

// shutdown asks for the end, once or more often.
func (s *supervisor) shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
	default:
		close(s.closing)
		s.phase = PhaseStopping
	}
}

// alive returns when the loops of all machines have turned.
func (s *supervisor) alive(ctx context.Context) error {
	for _, m := range s.all() {
		if err := m.turn(ctx); err != nil {
			return fmt.Errorf("the loop of %s does not turn: %w", m.node.Name, err)
		}
	}
	return nil
}

// takeDown stops all nodes.
func (s *supervisor) takeDown() {
	s.shutdown()
	_ = stopAll(context.Background(), s.all())
}

// stopAll stops nodes together, so that all of them have ended when the slowest has. The error is ctx's.
func stopAll(ctx context.Context, machines []*machine) error {
	var results []<-chan error
	for _, m := range machines {
		results = append(results, m.submit(order{verb: stop}))
	}
	for _, result := range results {
		if err := await(ctx, result); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) status() Status {
	nodes, _ := s.register.snapshot()
	for i := range nodes {
		nodes[i].Since = mono.Retell(nodes[i].Since)
	}
	for _, m := range s.all() {
		for i := range nodes {
			if nodes[i].Name == m.node.Name {
				nodes[i].LogLost = m.output.Lost()
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{
		Schema: Schema, PID: os.Getpid(), Time: time.Now(), State: s.phase, Foreground: s.options.Load != nil, Containment: s.containment, Nodes: nodes,
	}
}

// pick returns the machines of nodes by name, in the order of the cluster; no names means all.
func (s *supervisor) pick(names []string) ([]*machine, error) {
	nodes, err := pick(s.currentSpec().Nodes, names)
	if err != nil {
		return nil, err
	}
	var picked []*machine
	for _, m := range s.all() {
		if slices.ContainsFunc(nodes, func(n topology.Node) bool { return n.Name == m.node.Name }) {
			picked = append(picked, m)
		}
	}
	return picked, nil
}

// start starts what does not run of the named nodes and waits until all are ready. On the first
// failure, or when ctx or the cluster ends, what it started is stopped again.
func (s *supervisor) start(ctx context.Context, names []string) error {
	fresh, err := s.bringUp(ctx, names, 0)
	if err != nil {
		_ = stopAll(context.Background(), fresh)
	}
	return err
}

// bringUp starts what does not run of the named nodes and waits until all are ready, one fails, or ctx
// or the cluster ends. It waits as long as patience for ports that are in use. fresh is what it has
// started, ready or not.
func (s *supervisor) bringUp(ctx context.Context, names []string, patience time.Duration) (fresh []*machine, err error) {
	picked, err := s.pick(names)
	if err != nil {
		return nil, err
	}
	if s.ending() {
		return nil, errStopping
	}
	open, cancel := s.whileOpen(ctx)
	defer cancel(nil)
	results, fresh, err := s.begin(open, picked, patience)
	if err != nil {
		return nil, err
	}
	group, waiting := errgroup.WithContext(open)
	for _, result := range results {
		group.Go(func() error { return await(waiting, result) })
	}
	err = group.Wait()
	var failed *StartError
	switch {
	case err == nil:
		s.surveyor.survey(open)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case s.ending() && !errors.As(err, &failed): // a node may have been told before this was
		err = errStopped
	}
	return fresh, err
}

// begin gives the order to start. fresh are the nodes that did not run, nor were about to.
func (s *supervisor) begin(
	ctx context.Context, picked []*machine, patience time.Duration,
) (results []<-chan error, fresh []*machine, err error) {
	s.beginning.Lock()
	defer s.beginning.Unlock()
	states, _ := s.register.snapshot()
	var idle []topology.Node
	for _, m := range picked {
		if slices.ContainsFunc(states, func(n NodeStatus) bool { return n.Name == m.node.Name && n.State.down() }) {
			fresh = append(fresh, m)
			idle = append(idle, m.node)
		}
	}
	if err := checkPorts(ctx, idle, patience); err != nil {
		return nil, nil, err
	}
	for _, m := range picked {
		results = append(results, m.submit(order{verb: start}))
	}
	return results, fresh, nil
}

// stop stops the named nodes.
func (s *supervisor) stop(ctx context.Context, names []string) error {
	picked, err := s.pick(names)
	if err != nil {
		return err
	}
	return stopAll(ctx, picked)
}

// ordering gives the named nodes an order, one after the other: to say that they get no new clients, or again.
func (s *supervisor) ordering(v verb) func(context.Context, []string) error {
	return func(ctx context.Context, names []string) error {
		picked, err := s.pick(names)
		if err != nil {
			return err
		}
		for _, m := range picked {
			if err := m.ask(ctx, order{verb: v}); err != nil {
				return err
			}
		}
		return nil
	}
}

// restart stops and starts the named nodes one by one, if all that is needed for that is there. When ctx ends, the one that it is at comes back all
// the same: nobody has asked for a node that stays down.
func (s *supervisor) restart(ctx context.Context, names []string) error {
	picked, err := s.pick(names)
	if err != nil {
		return err
	}
	if err := s.check(picked); err != nil {
		return err
	}
	for _, m := range picked {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		one, whole := []string{m.node.Name}, context.WithoutCancel(ctx)
		if err := s.stop(whole, one); err != nil {
			return err
		}
		if err := s.start(whole, one); err != nil {
			return err
		}
	}
	return nil
}

// kill sends a signal to a node.
func (s *supervisor) kill(ctx context.Context, name string, signal Signal, hold bool) error {
	number, ok := signals[signal]
	if !ok {
		return &control.Error{
			Status: http.StatusBadRequest, Exit: 2,
			Message: fmt.Sprintf("unknown signal %q (there are KILL, STOP, CONT)", signal),
		}
	}
	picked, err := s.pick([]string{name})
	if err != nil {
		return err
	}
	return picked[0].ask(ctx, order{verb: kill, signal: number, hold: hold})
}

var signals = map[Signal]syscall.Signal{
	SignalKill: syscall.SIGKILL,
	SignalStop: syscall.SIGSTOP,
	SignalCont: syscall.SIGCONT,
}

// ending reports whether the cluster's end has been asked for.
func (s *supervisor) ending() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// whileOpen returns a context that also ends, with errStopped as its cause, when the cluster's end
// is asked for.
func (s *supervisor) whileOpen(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.closing:
			cancel(errStopped)
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
