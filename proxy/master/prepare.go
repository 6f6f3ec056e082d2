package master

import (
	"runtime"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// effective is the configuration in force, with what belongs to it. It does not change: it is replaced as a whole.
// The zero effective is before the first.
//
//	prepare   reads what it takes, opens nothing and changes nothing
//	open      opens the addresses that are new
//	enforce   puts it into force
type effective struct {
	spec     proxy.Spec      // with the nodes of the file
	own      []topology.Node // without them
	file     nodeFile
	capacity capacity
	key      []byte // see wire.WorkerSpec

	certificate *certificate // nil without an https listener
	trust       *wire.NodeTrust
	generation  *generation // the workers that take clients, once it is open
}

// configured is the spec without what comes from the file of nodes.
func (e *effective) configured() proxy.Spec {
	s := e.spec
	s.Nodes = e.own
	return s
}

// prepare reads what a configuration takes that is to be in force instead of the present one. It says which keys
// would keep their values.
func (m *master) prepare(s proxy.Spec) (next *effective, r proxy.Reloaded, err error) {
	old := m.inForce.Load()
	next = &effective{own: s.Nodes, file: old.file.read(s.NodesFrom, m.o.DecodeNodes), generation: old.generation}
	if next.spec, err = s.WithNodes(next.file.name, next.file.nodes); err != nil {
		if own := s.Validate(); own != nil {
			return nil, r, own
		}
		if old.generation != nil {
			return nil, r, err
		}
		next.spec, next.file = s, nodeFile{name: next.file.name, err: err} // others than these are not known
	}
	if old.generation == nil {
		next.capacity, err = planCapacity(&next.spec, runtime.GOMAXPROCS(0), m.nofile)
	} else {
		next.capacity, err = m.fit(&next.spec, old, &r)
	}
	if err != nil {
		return nil, r, err
	}
	if next.key, err = loadKey(&s, m.o.StateDir); err != nil {
		return nil, r, err
	}
	if next.certificate, err = loadCertificate(&s); err != nil {
		return nil, r, err
	}
	if err = next.certificate.mayReplace(old.certificate, s.TLS); err != nil {
		return nil, r, err
	}
	if next.trust, err = loadNodeTrust(s.NodeTLS); err != nil {
		return nil, r, err
	}
	return next, r, nil
}

// fit puts back into next what only a restart can change, and lists it in r: the size of the source
// table, and the number of workers together with more clients than the present ones can hold.
func (m *master) fit(next *proxy.Spec, old *effective, r *proxy.Reloaded) (capacity, error) {
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

// opening is the addresses that are open for a configuration that is not in force yet.
type opening struct {
	clients *generation // without workers; nil if they stay as they are
	doors   *admin.DoorChange
}

// open opens the addresses that are new in next, or none of them.
func (m *master) open(next *effective) (o *opening, err error) {
	o = new(opening)
	if listen := next.spec.Listening(); next.generation == nil || !next.generation.serves(&listen) {
		if o.clients, err = newGeneration(listen, next.capacity, next.generation); err != nil {
			return nil, err
		}
		next.generation = o.clients
	}
	if o.doors, err = m.openDoors(next); err != nil {
		o.undo()
		return nil, err
	}
	return o, nil
}

// openDoors opens those of them that the master itself serves.
func (m *master) openDoors(next *effective) (*admin.DoorChange, error) {
	return m.doors.Change(next.spec.Listen, admin.VisitorsFor(m.nofile, next.capacity.most))
}

// undo closes them, for good.
func (o *opening) undo() {
	if o.clients != nil {
		closeEntrances(o.clients.entrances)
	}
	if o.doors != nil {
		o.doors.Undo()
	}
}

// enforce puts a configuration into force, except for what is in other processes.
func (m *master) enforce(e *effective) {
	old := m.inForce.Load()
	e.certificate.doubt(old.certificate, m.log)
	doubtNodeTrust(e.trust, old.trust, m.log)
	m.inForce.Store(e)
	m.board.Global().SourceTTLNs.Store(int64(max(e.spec.Sticky.TTL, e.spec.Limits.Ban.Window)))
	m.board.Global().BanWindowNs.Store(int64(e.spec.Limits.Ban.Window))
}
