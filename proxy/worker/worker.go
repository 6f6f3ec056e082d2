package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

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
		w.loop.Post(func() { w.drain(w.spec.Timeouts.Drain) })
	})
	defer stopDrain()
	w.report(wire.MessageReady, nil)
	return w.run()
}

// inherit waits for the master's first word and takes over what it handed down.
func inherit(child *prefork.Child, logger *log.Logger) (*worker, error) {
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
	for _, name := range []string{wire.FileTCP, wire.FileHTTP, wire.FileHTTPS} {
		if fd, ok := child.FD(name); ok {
			listeners[name] = fd
		}
	}
	if len(listeners) == 0 {
		return nil, errors.New("the master handed over no listener")
	}
	return newWorker(s, b, listeners, child.Intake, child, logger)
}

// newWorker makes a worker that accepts from listeners, by the names of their files, once its loop
// runs.
func newWorker(s wire.WorkerSpec, b *board.Board, listeners map[string]int, intake prefork.Intake, master reporter, logger *log.Logger) (*worker, error) {
	h, err := newHub(b, &s, intake, master, logger)
	if err != nil {
		return nil, err
	}
	tcp, http := newLine(h), newWeb(h)
	return beginWorker(h, s, listeners, acceptorsOf(tcp, http), http, tcp)
}

// acceptorsOf are who takes newcomers, by the names of the listeners' files.
func acceptorsOf(tcp *lineFrontend, http *webFrontend) map[string]reactor.Acceptor {
	return map[string]reactor.Acceptor{wire.FileTCP: tcp, wire.FileHTTP: http.plain(), wire.FileHTTPS: http.secure()}
}

func decode(m prefork.Message, kind string, into any) error {
	if m.Kind != kind {
		return fmt.Errorf("the master said %q, want %q", m.Kind, kind)
	}
	return json.Unmarshal(m.Data, into)
}

// obey hands the master's messages to the loop until there is no master.
func obey(w *worker, child *prefork.Child) {
	for {
		m, err := child.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.log.Error("lost the master", "err", err)
			}
			w.loop.Post(w.stop)
			return
		}
		w.loop.Post(func() { handle(w, m) })
	}
}

func handle(w *worker, m prefork.Message) {
	var err error
	switch m.Kind {
	case wire.MessageSpec:
		var s wire.WorkerSpec
		if err = decode(m, wire.MessageSpec, &s); err == nil {
			err = w.apply(s)
			w.report(wire.MessageReady, nil)
		}
	case wire.MessageNodes:
		w.syncNodes()
	case wire.MessageYield:
		var y wire.Yield
		if err = decode(m, wire.MessageYield, &y); err == nil {
			w.yield(y.Source)
		}
	case prefork.MessageIntake:
		err = w.gate.Obey(m, w.open, w.loop.Now())
	default:
		err = fmt.Errorf("unknown message %q", m.Kind)
	}
	if err != nil {
		w.log.Error("message from the master", "err", err)
	}
}
