// Package worker is the life of a worker process: what the master hands down and says. What it does is in hub, line and web.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/line"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/web"
)

// MaxHandshakes bounds the handshakes of a worker that are under way.
const MaxHandshakes = web.MaxHandshakes

// Run plays the role of a worker process until the master ends it or is
// gone. Cancelling ctx drains.
func Run(ctx context.Context, logger *log.Logger) error {
	child, err := prefork.Inherit()
	if err != nil {
		return err
	}
	w, err := inherit(child, logger)
	if err != nil {
		return fmt.Errorf("worker %d: %w", child.Index, err)
	}
	go obey(w, child)
	stopDrain := context.AfterFunc(ctx, func() {
		w.Loop.Post(func() { w.Drain(w.Spec.Timeouts.Drain) })
	})
	defer stopDrain()
	w.Report(wire.MessageReady, nil)
	return w.Run()
}

// inherit waits for the master's first word and takes over what it handed down.
func inherit(child *prefork.Child, logger *log.Logger) (*hub.Worker, error) {
	m, err := child.Receive()
	if err != nil {
		return nil, fmt.Errorf("waiting for the master: %w", err)
	}
	var s wire.WorkerSpec
	if err := decode(m, wire.MessageSpec, &s); err != nil {
		return nil, err
	}
	file := child.File(wire.FileBoard)
	b, err := board.Open(file)
	if err != nil {
		return nil, err
	}
	file.Close() // the mapping stays
	listeners := make(map[string]int)
	for _, name := range []string{proxy.ListenTCP, proxy.ListenHTTP, proxy.ListenHTTPS} {
		if fd, ok := child.FD(name); ok {
			listeners[name] = fd
		}
	}
	if len(listeners) == 0 {
		return nil, errors.New("the master handed over no listener")
	}
	return newWorker(s, b, listeners, child.Intake, child, logger)
}

// newWorker makes a worker that accepts from listeners, by their names, once its loop runs.
func newWorker(s wire.WorkerSpec, b *board.Board, listeners map[string]int, intake prefork.Intake, master hub.Reporter, logger *log.Logger) (*hub.Worker, error) {
	h, err := hub.New(b, &s, intake, master, logger)
	if err != nil {
		return nil, err
	}
	return hub.NewWorker(h, s, listeners, web.New(h), line.New(h))
}

func decode(m prefork.Message, kind string, into any) error {
	if m.Kind != kind {
		return fmt.Errorf("the master said %q, want %q", m.Kind, kind)
	}
	return json.Unmarshal(m.Data, into)
}

// obey hands the master's messages to the loop until there is no master.
func obey(w *hub.Worker, child *prefork.Child) {
	for {
		m, err := child.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.Log.Error("lost the master", "err", err)
			}
			w.Loop.Post(w.Stop)
			return
		}
		w.Loop.Post(func() { handle(w, m) })
	}
}

func handle(w *hub.Worker, m prefork.Message) {
	var err error
	switch m.Kind {
	case wire.MessageSpec:
		var s wire.WorkerSpec
		if err = decode(m, wire.MessageSpec, &s); err == nil {
			err = w.Apply(s)
			w.Report(wire.MessageReady, nil)
		}
	case wire.MessageNodes:
		w.SyncNodes()
	case wire.MessageYield:
		var y wire.Yield
		if err = decode(m, wire.MessageYield, &y); err == nil {
			w.Yield(y.Source)
		}
	case prefork.MessageIntake:
		err = w.Gate.Obey(m, w.Open, w.Loop.Now())
	default:
		err = fmt.Errorf("unknown message %q", m.Kind)
	}
	if err != nil {
		w.Log.Error("message from the master", "err", err)
	}
}
