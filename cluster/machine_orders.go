package cluster

import (
	"fmt"
	"net/http"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/control"
)

type verb int

const (
	start verb = iota
	stop
	kill
	observe
	drain
	resume
	turn // of the loop, for who watches it
)

// order is a request to a machine.
type order struct {
	verb   verb
	signal syscall.Signal // of kill
	hold   bool           // of kill
	view   view           // of observe
	reply  chan error     // receives exactly one result; never blocks the machine
}

func (m *machine) obey(o order) {
	switch o.verb {
	case start:
		m.obeyStart(o.reply)
	case stop:
		m.obeyStop(o.reply)
	case turn:
		o.reply <- nil
	case kill:
		o.reply <- m.obeyKill(o.signal, o.hold)
	case observe:
		m.obeyObserve(o.view)
		o.reply <- nil
	case drain:
		o.reply <- m.obeyDrain()
	case resume:
		if m.status.State == StateDraining {
			m.enter(StateReady, m.frozen)
		}
		o.reply <- nil
	}
}

// obeyDrain says of the node that it gets no new clients any more; who keeps them away is not the
// machine's business.
func (m *machine) obeyDrain() error {
	if !m.status.State.Serves() {
		return m.notRunning()
	}
	if m.status.State != StateDraining {
		m.enter(StateDraining, "gets no new clients")
	}
	return nil
}

func (m *machine) notRunning() error {
	return &control.Error{
		Status: http.StatusConflict, Code: codeNotRunning,
		Message: fmt.Sprintf("%s does not run (%s)", m.node.Name, m.status.State),
	}
}

func (m *machine) obeyStart(reply chan<- error) {
	if m.status.State.Serves() {
		reply <- nil
		return
	}
	m.starters = append(m.starters, reply)
	switch m.status.State {
	case StateStopped, StateHeld:
		m.proven, m.failures = false, 0
		m.execute()
	case StateBackoff, StateCrashLoop:
		m.execute()
	case StateStopping:
		m.next = beStarted
	}
}

func (m *machine) obeyStop(reply chan<- error) {
	m.tell(&m.starters, &control.Error{
		Status:  http.StatusConflict,
		Message: m.node.Name + " was stopped before it was ready",
	})
	switch m.status.State {
	case StateStopped: // the reason stays
		reply <- nil
	case StateHeld, StateBackoff, StateCrashLoop:
		m.setDue(0)
		m.enter(StateStopped, "")
		reply <- nil
	case StateStarting, StateReady, StateDegraded, StateDraining:
		m.stoppers = append(m.stoppers, reply)
		m.terminate()
	case StateStopping:
		m.stoppers = append(m.stoppers, reply)
		m.next = stayDown
	}
}

func (m *machine) obeyKill(sig syscall.Signal, hold bool) error {
	if m.process == nil {
		return m.notRunning()
	}
	if err := m.process.Signal(sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", signalName(sig), m.node.Name, err)
	}
	m.output.Note("%s got %s on request", m.node.Name, signalName(sig))
	switch sig {
	case syscall.SIGKILL:
		m.awaitKilled(hold)
	case syscall.SIGSTOP:
		m.frozen = "frozen by SIGSTOP"
		m.remark(m.frozen)
	case syscall.SIGCONT:
		m.frozen = ""
		m.remark("")
	}
	return nil
}

// awaitKilled leaves the state before the process has died, so that nobody is told any more that
// the node is ready.
func (m *machine) awaitKilled(hold bool) {
	if hold {
		m.next = beHeld
	} else if m.status.State != StateStopping {
		m.next = beRestored
	}
	if m.status.State != StateStopping {
		m.forgetReadiness()
		m.setDue(0)
		m.enter(StateStopping, "killed on request")
	}
}

// obeyObserve takes note of how the node stands to others. What was seen of an earlier life is too
// late.
func (m *machine) obeyObserve(v view) {
	if !m.status.State.Serves() || m.process == nil || m.process.PID() != v.pid {
		return
	}
	differs := !m.status.Distribution.equal(v.distribution)
	m.status.Distribution = v.distribution
	switch {
	case v.doubt == "" && m.status.State == StateDegraded:
		m.enter(StateReady, "")
	case v.doubt != "" && m.status.State == StateReady:
		m.enter(StateDegraded, v.doubt)
	case v.doubt != "" && m.status.State == StateDegraded && m.status.Reason != v.doubt:
		m.remark(v.doubt)
	case differs:
		m.remark(m.status.Reason)
	}
}
