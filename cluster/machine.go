package cluster

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/cluster/internal/process"
	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// machine is the life of one node. Its goroutine, run, owns all state; others reach it by submit.
type machine struct {
	node     topology.Node
	program  process.Program
	launcher *process.Launcher
	probe    prober
	pace     pace
	live     Liveness
	output   *nodelog.File
	publish  func(NodeStatus)
	log      *log.Logger

	orders chan order
	over   chan struct{}      // closed when run has returned
	forget context.CancelFunc // ends run

	// What follows belongs to run. Channels of what is not awaited are nil.
	status    NodeStatus
	process   *process.Process      // nil when none runs
	ended     <-chan process.Status // of process
	readiness *readiness            // while starting
	ready     <-chan struct{}       // of readiness
	lifeless  <-chan string         // while it serves, and is asked for signs of life
	unwatch   context.CancelFunc    // ends that; nil when there is nothing to end
	timer     *time.Timer           // one deadline per state: readiness, SIGKILL, or the next start
	due       <-chan time.Time

	frozen   string    // the reason of a node that is frozen on request
	fate     string    // why the supervisor itself killed the process
	next     next      // what follows the state stopping
	proven   bool      // it was ready since it was last started on request, so it is to be kept alive
	readyAt  time.Time // of this life; zero before
	failures int       // in a row

	starters []chan<- error // told when it is ready, or will not be
	stoppers []chan<- error // told when it has stopped
}

// next is what a node does when it has ended.
type next int

const (
	stayDown   next = iota // stopped
	beHeld                 // held
	beStarted              // starting, on request
	beRestored             // what follows any other death
)

// submit hands an order to the machine. The result comes later, see await.
func (m *machine) submit(o order) <-chan error {
	o.reply = make(chan error, 1)
	select {
	case m.orders <- o:
	case <-m.over:
		o.reply <- errStopping
	}
	return o.reply
}

// ask submits an order and awaits its result.
func (m *machine) ask(ctx context.Context, o order) error { return await(ctx, m.submit(o)) }

// turn returns when the loop has turned or is over; the error is ctx's.
func (m *machine) turn(ctx context.Context) error {
	o := order{verb: turn, reply: make(chan error, 1)}
	select {
	case m.orders <- o:
		return await(ctx, o.reply)
	case <-m.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await returns the result of an order, or the cause of ctx's end if that comes first; the order
// goes on.
func await(ctx context.Context, result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run lives until ctx ends, which kills the node if it runs.
func (m *machine) run(ctx context.Context) {
	defer close(m.over)
	for {
		select {
		case o := <-m.orders:
			m.obey(o)
		case <-m.ready:
			m.becomeReady()
		case how := <-m.ended:
			m.die(how.String())
		case m.fate = <-m.lifeless:
			m.forgetLiveness()
			_ = m.process.Signal(syscall.SIGKILL)
		case <-m.due:
			m.expire()
		case <-ctx.Done():
			m.end()
			return
		}
	}
}

// execute starts the process.
func (m *machine) execute() {
	m.frozen, m.fate, m.readyAt = "", "", time.Time{}
	m.output.Begin()
	p, err := m.launcher.Launch(m.program, m.output.Pump)
	if err != nil {
		m.die("could not be executed: " + err.Error())
		return
	}
	m.process, m.ended = p, p.Ended()
	m.readiness = awaitReady(m.probe, m.node)
	m.ready = m.readiness.ready
	m.setDue(m.pace.startTimeout)
	m.output.Note("%s started, pid %d", m.node.Name, p.PID())
	m.enter(StateStarting, "")
}

func (m *machine) becomeReady() {
	m.forgetReadiness()
	m.setDue(0)
	m.proven, m.readyAt = true, time.Now()
	m.output.Note("%s ready", m.node.Name)
	ctx, cancel := context.WithCancel(context.Background())
	m.unwatch, m.lifeless = cancel, m.live.watch(ctx, m.probe, m.node)
	m.enter(StateReady, "")
	m.tell(&m.starters, nil)
}

// terminate asks the process to end.
func (m *machine) terminate() {
	m.forgetReadiness()
	m.setDue(m.pace.stopGrace)
	m.next = stayDown
	m.enter(StateStopping, "")
	m.process.Terminate()
}

// expire acts on the deadline of the state.
func (m *machine) expire() {
	m.setDue(0)
	switch m.status.State {
	case StateStarting:
		m.fate = fmt.Sprintf("did not answer within %v", m.pace.startTimeout)
		if err := m.readiness.lastError(); err != nil {
			m.fate += fmt.Sprintf(" (%v)", err)
		}
		_ = m.process.Signal(syscall.SIGKILL)
	case StateStopping:
		m.fate = fmt.Sprintf("did not end within %v and was killed", m.pace.stopGrace)
		_ = m.process.Signal(syscall.SIGKILL)
	case StateBackoff, StateCrashLoop:
		m.status.Restarts++
		m.execute()
	}
}

// die acts on the end of the process, and on a start that did not even make one.
func (m *machine) die(how string) {
	m.forgetReadiness()
	m.setDue(0)
	m.process, m.ended = nil, nil
	if m.fate != "" {
		how = m.fate
	}
	m.output.Note("%s %s", m.node.Name, how)
	next := beRestored
	if m.status.State == StateStopping {
		next = m.next
	}
	switch {
	case next == stayDown:
		m.enter(StateStopped, m.fate)
	case next == beHeld:
		m.enter(StateHeld, how)
	case next == beStarted:
		m.tell(&m.stoppers, nil)
		m.proven, m.failures = false, 0
		m.execute()
		return
	case m.proven:
		m.retreat(how)
	default:
		m.enter(StateStopped, how)
	}
	m.tell(&m.stoppers, nil)
	m.tell(&m.starters, &StartError{Node: m.node.Name, How: how, Log: m.output.Ending()})
}

// retreat waits before the next start.
func (m *machine) retreat(how string) {
	if !m.readyAt.IsZero() && time.Since(m.readyAt) >= m.pace.healthy {
		m.failures = 0
	}
	m.failures++
	wait := m.pace.wait(m.failures)
	m.setDue(wait)
	if m.failures < m.pace.crashLoop {
		m.enter(StateBackoff, fmt.Sprintf("%s; next start after %v", how, wait))
	} else {
		m.enter(StateCrashLoop, fmt.Sprintf("%s; failed %d times in a row, next start after %v", how, m.failures, wait))
	}
}

// end kills the process, if there is one, and releases whoever waits.
func (m *machine) end() {
	m.forgetReadiness()
	m.setDue(0)
	if m.process != nil {
		_ = m.process.Signal(syscall.SIGKILL)
		<-m.ended
		m.process, m.ended = nil, nil
		m.enter(StateStopped, "killed with the supervisor")
	}
	m.tell(&m.starters, errStopped)
	m.tell(&m.stoppers, nil)
}

// enter publishes a new state.
func (m *machine) enter(s State, reason string) {
	m.status.State, m.status.Since, m.status.PID = s, time.Now(), 0
	if !s.Serves() {
		m.status.Distribution = nil
		m.forgetLiveness()
	}
	if m.process != nil {
		m.status.PID = m.process.PID()
	}
	m.remark(reason)
	switch {
	case s == StateBackoff || s == StateDegraded || s == StateHeld || s == StateStopped && reason != "":
		m.log.Warn("node "+string(s), "node", m.node.Name, "reason", reason)
	case s == StateCrashLoop:
		m.log.Error("node crashloop", "node", m.node.Name, "reason", reason)
	default:
		m.log.Info("node "+string(s), "node", m.node.Name, "pid", m.status.PID)
	}
}

// remark publishes a reason for the state as it is.
func (m *machine) remark(reason string) {
	m.status.Reason = reason
	m.publish(m.status)
}

func (m *machine) forgetReadiness() {
	if m.readiness != nil {
		m.readiness.stop()
		m.readiness, m.ready = nil, nil
	}
}

func (m *machine) forgetLiveness() {
	if m.unwatch != nil {
		m.unwatch()
		m.unwatch, m.lifeless = nil, nil
	}
}

// setDue sets the state's deadline; 0 is none.
func (m *machine) setDue(d time.Duration) {
	if m.timer != nil {
		m.timer.Stop()
		m.timer, m.due = nil, nil
	}
	if d > 0 {
		m.timer = time.NewTimer(d)
		m.due = m.timer.C
	}
}

func (m *machine) tell(who *[]chan<- error, result error) {
	for _, c := range *who {
		c <- result
	}
	*who = nil
}
