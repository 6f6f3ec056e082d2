package master

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
)

// errNoReload is the answer of a balancer without Options.Load.
var errNoReload = errors.New("this balancer was started without a configuration to reload")

// errDraining is the answer of a balancer that is on its way out.
var errDraining = errors.New("the balancer is draining")

// reload puts the configuration as it is now into force. No connection is closed. If anything is
// wrong with it, everything stays as it was.
func (m *master) reload() (proxy.Reloaded, error) {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	r, err := m.reloadLocked()
	status := proxy.ReloadStats{At: time.Now(), OK: err == nil}
	if err != nil {
		status.Error = err.Error()
		m.log.Error("not reloaded, the configuration stays as it was", "err", err)
	} else {
		m.log.Info("reloaded", "changed", r.Changed, "needs_restart", r.Restart, "moved", r.Moved)
	}
	m.lastReload.Store(&status)
	return r, err
}

// planReload says what a reload would do, and does nothing. Whether new addresses for clients can be listened at, and
// where names of nodes lead, shows at the reload only.
func (m *master) planReload() (proxy.Reloaded, error) {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	next, r, err := m.prepareAgain()
	if err != nil {
		return r, err
	}
	doors, err := m.openDoors(next)
	if err != nil {
		return r, err
	}
	doors.Undo()
	return r, nil
}

// prepareAgain prepares the configuration as it is now.
func (m *master) prepareAgain() (next *effective, r proxy.Reloaded, err error) {
	if m.o.Load == nil {
		return nil, r, errNoReload
	}
	if m.draining() {
		return nil, r, errDraining
	}
	s, err := m.o.Load()
	if err != nil {
		return nil, r, err
	}
	if next, r, err = m.prepare(s); err != nil {
		return nil, r, err
	}
	r.Changed = changedKeys(m.inForce.Load().configured(), next.configured())
	return next, r, nil
}

func (m *master) reloadLocked() (proxy.Reloaded, error) {
	next, r, err := m.prepareAgain()
	if err != nil {
		return r, err
	}
	m.complainOf(next.file, m.inForce.Load().file)
	m.names.learn(m.ask(m.serving, &next.spec))
	opened, err := m.open(next)
	if err != nil {
		return r, err
	}
	if r.Moved, err = m.adopt(next); err != nil {
		opened.undo()
		return r, err
	}
	m.doors.Commit(opened.doors)
	return r, nil
}

// adopt puts next into force, with its nodes where their names are known to be. On an error, everything stays
// as it was. It returns which nodes have moved. The caller holds reloading.
func (m *master) adopt(next *effective) (moved []string, err error) {
	old := m.inForce.Load()
	other := next.generation != old.generation
	if other {
		if err := m.fleet.start(m.serving, next.generation); err != nil {
			return nil, err
		}
	}
	m.members.trust.Store(next.trust) // before new nodes are checked
	if moved, err = m.members.apply(next.spec, m.names.find(next.spec.Nodes), false); err != nil {
		m.members.trust.Store(old.trust)
		if other {
			m.fleet.retireLater(next.generation, 0)
		}
		return nil, err
	}
	m.enforce(next)
	m.fleet.respec()
	m.members.decided(m.serving, next.spec.Checks.Timeout+time.Second)
	m.members.dismiss() // now that others can take their clients
	if other {
		m.fleet.retireLater(old.generation, next.spec.Timeouts.Drain+drainGrace)
	}
	return moved, nil
}

// changedKeys lists the paths of the keys in which two specs differ, in alphabetical order.
func changedKeys(a, b proxy.Spec) []string {
	changed := []string{}
	compare(&changed, "lb", reflect.ValueOf(a), reflect.ValueOf(b))
	slices.Sort(changed)
	return changed
}

// compare goes into sections. Lists are compared as a whole, and one without elements is as none.
func compare(changed *[]string, path string, a, b reflect.Value) {
	switch {
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			key, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
			compare(changed, path+"."+key, a.Field(i), b.Field(i))
		}
	case a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0:
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		*changed = append(*changed, path)
	}
}
