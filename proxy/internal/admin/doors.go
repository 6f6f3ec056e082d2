package admin

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/lobby"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/proxy"
)

// door is an HTTP listener that the master itself serves.
type door struct {
	at       proxy.Listener // as in the spec
	listener *lobby.Lobby
	server   *http.Server // nil until served
	hurry    context.CancelFunc
}

const (
	// masterFiles is how many descriptors the master needs beside those for workers, checks and visitors: listeners,
	// board, logs, look-ups of names.
	masterFiles = 96
	// maxVisitors is how many connections a door has at a time, if descriptors are plenty.
	maxVisitors = 256
	// minVisitors is that if they are few.
	minVisitors = 40
)

// VisitorsFor is how many connections each door may have, so that enough descriptors stay for health checks and for
// control, whoever comes.
func VisitorsFor(nofile uint64, workers int) int {
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

// Doors are those that are served. Its methods may be called from any goroutine.
type Doors struct {
	Handlers map[string]http.Handler // by name; constant
	Listen   func(name, address string) (net.Listener, error)

	mu   sync.Mutex
	list []*door
}

// DoorChange is what opening other addresses amounts to, before it takes effect.
type DoorChange struct {
	opened, closing []*door
}

// Change opens the addresses of l that are not open yet, for so many visitors each, or none of them if one fails. Until
// Commit nobody is answered there.
func (ds *Doors) Change(l proxy.Listen, visitors int) (*DoorChange, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	c := &DoorChange{closing: slices.Clone(ds.list)}
	for _, want := range l.ForOperators() {
		kept := slices.IndexFunc(c.closing, func(d *door) bool { return d.at == want })
		if kept >= 0 {
			c.closing = slices.Delete(c.closing, kept, kept+1)
			continue
		}
		bound, err := ds.Listen(want.Name, want.Address)
		if err != nil {
			c.Undo()
			return nil, err
		}
		c.opened = append(c.opened, &door{at: want, listener: lobby.New(bound, visitors)})
	}
	return c, nil
}

// Undo closes what Change has opened. After Commit it does nothing.
func (c *DoorChange) Undo() {
	for _, d := range c.opened {
		d.close()
	}
	c.opened = nil
}

// Commit makes a change take effect.
func (ds *Doors) Commit(c *DoorChange) {
	ds.mu.Lock()
	ds.list = slices.DeleteFunc(ds.list, func(d *door) bool { return slices.Contains(c.closing, d) })
	for _, d := range c.opened {
		d.serve(ds.Handlers[d.at.Name])
		ds.list = append(ds.list, d)
	}
	ds.mu.Unlock()
	c.opened = nil
	for _, d := range c.closing {
		d.close()
	}
}

// Close closes all doors.
func (ds *Doors) Close() { ds.Commit(&DoorChange{closing: ds.open()}) }

// open lists the doors that are open.
func (ds *Doors) open() []*door {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return slices.Clone(ds.list)
}

// Stats lists what listens.
func (ds *Doors) Stats() (list []proxy.ListenerStats) {
	for _, d := range ds.open() {
		list = append(list, proxy.ListenerStats{Name: d.at.Name, Address: d.listener.Addr().String(), Up: true})
	}
	return list
}
