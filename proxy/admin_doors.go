package proxy

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/lobby"
	"github.com/erlmcp/erlmcp/internal/prefork"
)

// A door is an HTTP listener that the master itself serves.
type door struct {
	name     string // its key in Listen
	address  string // as in the spec
	listener *lobby.Lobby
	server   *http.Server // nil until served
	hurry    context.CancelFunc
}

const (
	// masterFiles is how many descriptors the master needs beside those for workers, checks and visitors: listeners,
	// board, logs, look-ups of names.
	masterFiles = 96
	// maxVisitors is how many connections a door has at a time, if descriptors are plenty, and minVisitors if they are few.
	maxVisitors, minVisitors = 256, 40
)

// visitorsFor is how many connections each door may have, so that enough descriptors stay for health checks and for
// control, whoever comes.
func visitorsFor(nofile uint64, workers int) int {
	free := int(min(nofile, 1<<20)) - prefork.ParentFiles(workers) - masterFiles
	return max(minVisitors, min(free/4, maxVisitors))
}

// serve begins to answer. A visitor gets little time and space: there is nothing to upload.
func (d *door) serve(h http.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	d.hurry = cancel
	d.server = &http.Server{
		BaseContext:    func(net.Listener) context.Context { return ctx },
		Handler:        http.MaxBytesHandler(h, 4<<10),
		ReadTimeout:    5 * time.Second,
		WriteTimeout:   15 * time.Second,
		MaxHeaderBytes: 16 << 10,
	}
	go d.listener.Serve(d.server) // ends with close
}

// close finishes what is being answered. Answers without an end are told to end by their context.
func (d *door) close() {
	if d.server == nil {
		d.listener.Close()
		return
	}
	d.hurry()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if d.server.Shutdown(ctx) != nil {
		d.server.Close()
	}
}

// doors are those that are served. Its methods may be called from any goroutine.
type doors struct {
	handlers map[string]http.Handler // by name; constant
	listen   func(name, address string) (net.Listener, error)

	mu   sync.Mutex
	list []*door
}

// doorChange is what opening other addresses amounts to, before it takes effect.
type doorChange struct {
	opened, closing []*door
}

// change opens the addresses of l that are not open yet, for so many visitors each, or none of them if one fails. Until
// commit nobody is answered there.
func (ds *doors) change(l Listen, visitors int) (*doorChange, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	c := &doorChange{closing: slices.Clone(ds.list)}
	for _, want := range []struct{ name, address string }{{"admin", l.Admin}, {"health", l.Health}} {
		if want.address == "" {
			continue
		}
		kept := slices.IndexFunc(c.closing, func(d *door) bool { return d.name == want.name && d.address == want.address })
		if kept >= 0 {
			c.closing = slices.Delete(c.closing, kept, kept+1)
			continue
		}
		at, err := ds.listen(want.name, want.address)
		if err != nil {
			c.undo()
			return nil, err
		}
		c.opened = append(c.opened, &door{name: want.name, address: want.address, listener: lobby.New(at, visitors)})
	}
	return c, nil
}

// undo closes what change has opened. After commit it does nothing.
func (c *doorChange) undo() {
	for _, d := range c.opened {
		d.close()
	}
	c.opened = nil
}

// commit makes a change take effect.
func (ds *doors) commit(c *doorChange) {
	ds.mu.Lock()
	ds.list = slices.DeleteFunc(ds.list, func(d *door) bool { return slices.Contains(c.closing, d) })
	for _, d := range c.opened {
		d.serve(ds.handlers[d.name])
		ds.list = append(ds.list, d)
	}
	ds.mu.Unlock()
	c.opened = nil
	for _, d := range c.closing {
		d.close()
	}
}

// close closes all doors.
func (ds *doors) close() { ds.commit(&doorChange{closing: ds.open()}) }

// open lists the doors that are open.
func (ds *doors) open() []*door {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return slices.Clone(ds.list)
}

func (ds *doors) stats() (list []ListenerStats) {
	for _, d := range ds.open() {
		list = append(list, ListenerStats{Name: d.name, Address: d.listener.Addr().String(), Up: true})
	}
	return list
}
