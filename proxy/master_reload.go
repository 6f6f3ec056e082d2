package proxy

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// errNoReload is the answer of a balancer without Options.Load.
var errNoReload = errors.New("this balancer was started without a configuration to reload")

// errDraining is the answer of a balancer that is on its way out.
var errDraining = errors.New("the balancer is draining")

// reload puts the configuration as it is now into force. No connection is closed. If anything is
// wrong with it, everything stays as it was.
func (m *master) reload() (Reloaded, error) {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	r, err := m.reloadLocked(false)
	status := ReloadStats{At: time.Now(), OK: err == nil}
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
func (m *master) planReload() (Reloaded, error) {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	return m.reloadLocked(true)
}

func (m *master) reloadLocked(plan bool) (r Reloaded, err error) {
	if m.o.Load == nil {
		return r, errNoReload
	}
	if m.draining() {
		return r, errDraining
	}
	next, err := m.o.Load()
	if err != nil {
		return r, err
	}
	if err := next.Validate(); err != nil {
		return r, err
	}
	old := m.now.Load()
	capacity, err := m.fit(&next, old, &r)
	if err != nil {
		return r, err
	}
	key, err := loadKey(&next, m.o.StateDir)
	if err != nil {
		return r, err
	}
	pair, err := loadCertificate(&next)
	if err != nil {
		return r, err
	}
	if err := pair.mayReplace(old.certificate, next.TLS); err != nil {
		return r, err
	}
	trust, err := loadNodeTrust(next.NodeTLS)
	if err != nil {
		return r, err
	}
	changed := &effective{own: next.Nodes, capacity: capacity, key: key, certificate: pair, trust: trust}
	changed.file = old.file.read(next.NodesFrom, m.o.DecodeNodes)
	if changed.spec, err = next.WithNodes(changed.file.name, changed.file.nodes); err != nil {
		return r, err
	}
	doors, err := m.doors.change(next.Listen)
	if err != nil {
		return r, err
	}
	defer doors.undo()
	if plan {
		r.Changed = changedKeys(old.configured(), changed.configured())
		return r, nil
	}
	m.complainOf(changed.file, old.file)
	m.names.learn(m.ask(m.serving, &changed.spec))
	if r.Moved, err = m.adopt(changed); err != nil {
		return r, err
	}
	m.doors.commit(doors)
	r.Changed = changedKeys(old.configured(), changed.configured())
	return r, nil
}

// adopt puts next into force, with its nodes where their names are known to be. On an error, everything stays
// as it was. It returns which nodes have moved. The caller holds reloading.
func (m *master) adopt(next *effective) (moved []string, err error) {
	before, after := m.fleet.newest(), (*generation)(nil)
	if listen := next.spec.Listening(); !before.serves(&listen) {
		if after, err = newGeneration(listen, next.capacity, before); err != nil {
			return nil, err
		}
		if err := m.fleet.start(m.serving, after); err != nil {
			return nil, err
		}
	}
	m.members.trust.Store(next.trust) // before new nodes are checked
	if moved, err = m.members.apply(next.spec, m.names.find(next.spec.Nodes), false); err != nil {
		m.members.trust.Store(m.now.Load().trust)
		if after != nil {
			m.fleet.retireLater(after, 0)
		}
		return nil, err
	}
	m.enforce(next)
	m.fleet.respec()
	m.members.decided(m.serving, next.spec.Checks.Timeout+time.Second)
	m.members.dismiss() // now that others can take their clients
	if after != nil {
		m.fleet.retireLater(before, next.spec.Timeouts.Drain+drainGrace)
	}
	return moved, nil
}

// fit puts back into next what only a restart can change, and lists it in r: the size of the source
// table, and the number of workers together with more clients than the present ones can hold.
func (m *master) fit(next *Spec, old *effective, r *Reloaded) (capacity, error) {
	if _, err := planCapacity(next, old.capacity.workers, m.nofile); err != nil {
		return capacity{}, err
	}
	if next.SourceTable != old.spec.SourceTable {
		next.SourceTable = old.spec.SourceTable
		r.Restart = append(r.Restart, "lb.source_table")
	}
	if next.Workers != old.spec.Workers {
		next.Workers = old.spec.Workers
		r.Restart = append(r.Restart, "lb.workers")
	}
	c, err := planCapacity(next, old.capacity.workers, m.nofile)
	if err == nil && c.workers == old.capacity.workers && c.most <= old.capacity.most {
		c.most = old.capacity.most
		return c, nil
	}
	next.MaxConnections = old.spec.MaxConnections
	r.Restart = append(r.Restart, "lb.max_connections")
	return old.capacity, nil
}

// changedKeys lists the paths of the keys in which two specs differ, in alphabetical order.
func changedKeys(a, b Spec) []string {
	changed := []string{}
	compare(&changed, "lb", asTree(a), asTree(b))
	slices.Sort(changed)
	return changed
}

func compare(changed *[]string, path string, a, b any) {
	left, ok := a.(map[string]any)
	if !ok {
		if !reflect.DeepEqual(a, b) {
			*changed = append(*changed, path)
		}
		return
	}
	right, _ := b.(map[string]any)
	for key := range left {
		compare(changed, path+"."+key, left[key], right[key])
	}
}

// asTree is the spec as a YAML reader without a schema sees it.
func asTree(s Spec) (tree map[string]any) {
	text, err := yaml.Marshal(s)
	if err == nil {
		err = yaml.Unmarshal(text, &tree)
	}
	if err != nil {
		panic("proxy: a Spec is not YAML: " + err.Error())
	}
	return tree
}
