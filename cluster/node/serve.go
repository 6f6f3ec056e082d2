package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/prefork"
)

// stopTimeout is how long a node takes to stop at most: its workers close what is left at the end of
// drainTimeout.
const stopTimeout = drainTimeout + 2*time.Second

// webPercent has the collector run seldom in the process that serves HTTP: sessions are thousands of small objects and stacks
// to look through, and what their calls leave is soon more than that.
const webPercent = 300

// Options are what a node needs beside its Spec.
type Options struct {
	Log *log.Logger

	// WorkerFlags come before the role command of the workers: how they are to log.
	WorkerFlags []string
}

// Serve runs a node, as its primary, until ctx is cancelled: then it takes no more connections, finishes
// what was asked, within stopTimeout, and returns nil. An address that is taken is a *prefork.InUseError,
// a wrong spec a *SpecError; nothing has been started then.
func Serve(ctx context.Context, spec Spec, o Options) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	workers, most, err := Plan(spec)
	if err != nil {
		return err
	}
	nofile, err := prefork.Limit()
	if err != nil {
		return err
	}
	n := &primary{spec: spec, log: o.Log, flags: o.WorkerFlags, workers: workers, most: most, listeners: map[string][]*os.File{}}
	defer n.close()
	if err := n.bind(); err != nil {
		return err
	}
	if err := n.start(ctx, prefork.Room(1, nofile)); err != nil {
		return err
	}
	o.Log.Info("serving", "node", spec.Node.Name, "tcp", spec.Node.TCPAddress(), "http", spec.Node.HTTPAddress(),
		"sse", spec.Node.SSEAddress(), "workers", n.workers, "at_most", n.most)
	boundMemory(webPercent)
	running, ended := context.WithCancel(ctx)
	defer ended()
	go prefork.KeepSmall(running, nil)
	select {
	case <-ctx.Done():
		o.Log.Info("stopping")
		return n.stop()
	case err := <-n.web.failures:
		return errors.Join(err, n.stop())
	}
}

// Plan returns with how many workers for TCP a node starts on this machine, and how many there may be. It fails as Serve would,
// if the limit of open files is too low.
func Plan(spec Spec) (workers, most int, err error) {
	nofile, err := prefork.Ceiling()
	if err != nil || spec.Node.TCP == 0 {
		return 0, 0, err
	}
	workers = firstWorkers(runtime.GOMAXPROCS(0))
	if most = prefork.Most(workers, spec.MaxConnections, 1, nofile); most == 0 {
		return 0, 0, advice.With(fmt.Errorf("max-connections: %d connections to a node do not fit the limit of %d open files a process", spec.MaxConnections, nofile),
			prefork.MoreFiles("cluster.node_max_connections", prefork.Holds(workers, spec.MaxConnections, 1, nofile)))
	}
	return workers, most, nil
}

// firstWorkers is with how many workers for TCP a node starts: a machine mostly has several nodes, which together take its
// cores.
func firstWorkers(cores int) int { return max(cores/4, 1) }

// primary is the first process of a node.
type primary struct {
	spec      Spec
	log       *log.Logger
	flags     []string
	workers   int                   // for TCP, to start with
	most      int                   // of them
	listeners map[string][]*os.File // by transport
	tally     *tally
	tallyFile *os.File
	pool      *prefork.Pool // nil without TCP
	web       *web
}

// bind opens all listeners and the tally.
func (n *primary) bind() (err error) {
	for _, port := range n.spec.Node.Ports() {
		copies := 1
		if port.Transport == "tcp" {
			copies = n.workers
		}
		if n.listeners[port.Transport], err = prefork.Listen(port.Address, copies); err != nil {
			return err
		}
	}
	n.tally, n.tallyFile, err = createTally(max(n.most, 1))
	return err
}

// start starts the workers and the HTTP servers. When it fails, all of them have ended.
func (n *primary) start(ctx context.Context, room int) (err error) {
	if n.workers > 0 {
		if n.pool, err = prefork.Start(ctx, n.copies()); err != nil {
			return err
		}
	}
	n.web = newWeb(n.spec, n.tally, room, n.log)
	if f := n.listeners["http"]; f != nil {
		err = n.web.serve(f[0], n.web.routes())
	}
	if f := n.listeners["sse"]; f != nil && err == nil {
		err = n.web.serve(f[0], n.web.legacyRoutes())
	}
	if err != nil {
		err = errors.Join(err, n.stop())
	}
	return err
}

func (n *primary) copies() prefork.Config {
	return prefork.Config{
		Name:   "node " + n.spec.Node.Name,
		Args:   slices.Concat(n.flags, []string{"node", "worker", n.spec.Node.Name}), // the name is for ps
		Copies: n.workers,
		Most:   n.most,
		Files:  []prefork.File{{Name: fileTally, File: n.tallyFile}},
		PerLane: func(lane int) []prefork.File {
			return []prefork.File{{Name: fileListener, File: n.listeners["tcp"][lane]}}
		},
		Hello:  func(int) (string, any) { return messageSpec, n.spec },
		OnExit: func(i, _ int, _ error) { n.tally.of(i).Store(0) },
		Log:    n.log,
	}
}

// stop ends the workers and then the HTTP servers, which until then say that the node is stopping.
func (n *primary) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	n.web.announceStop()
	for _, f := range n.listeners["tcp"] {
		_ = f.Close() // or newcomers would wait in the queues of workers that have closed theirs
	}
	var err error
	if n.pool != nil {
		err = n.pool.Stop(ctx)
	}
	n.web.stop(ctx)
	return err
}

// close gives everything back that bind has taken.
func (n *primary) close() {
	for _, files := range n.listeners {
		for _, f := range files {
			_ = f.Close()
		}
	}
	if n.tallyFile != nil {
		_ = n.tallyFile.Close()
	}
	if n.tally != nil {
		_ = n.tally.close()
	}
}
