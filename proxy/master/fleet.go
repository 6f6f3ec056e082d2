package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// readyTimeout is how long workers may take to accept clients.
const readyTimeout = 15 * time.Second

// A generation is the workers that share the same addresses. Normally there is one; when a reload
// changes an address, the next one starts beside it, and then it drains.
type generation struct {
	lanes     int // workers to start with
	size      int // workers there may be
	entrances []entrance
	rows      []int // of the board, by worker

	// Guarded by fleet.mu.
	pool     *prefork.Pool // nil until started
	serving  bool          // all first workers have been ready
	retiring bool

	pending pending    // workers that have not taken over the spec they were last sent
	died    chan error // a worker ended before all had been ready
}

// newGeneration opens the addresses of l for workers as c says. It shares with before, if that is not nil,
// those that stay as they are: nobody who connects there meanwhile is turned away.
func newGeneration(l proxy.Listen, c capacity, before *generation) (*generation, error) {
	var kept []entrance
	if before != nil {
		kept = before.entrances
	}
	opened, err := openEntrances(&l, c.workers, kept)
	if err != nil {
		return nil, err
	}
	g := &generation{lanes: c.workers, size: c.most, entrances: opened, died: make(chan error, 1)}
	for i := range g.lanes {
		g.pending.add(i)
	}
	return g, nil
}

// serves reports whether the generation has exactly the addresses of l.
func (g *generation) serves(l *proxy.Listen) bool {
	return slices.EqualFunc(g.entrances, l.ForClients(), entrance.is)
}

// filesOf are those of the workers of a lane.
func (g *generation) filesOf(lane int) (files []prefork.File) {
	for _, e := range g.entrances {
		files = append(files, prefork.File{Name: e.at.Name, File: e.files[lane]})
	}
	return files
}

// addresses are where the generation is found.
func (g *generation) addresses() (list []string) {
	for _, e := range g.entrances {
		list = append(list, e.at.Name+" "+e.bound.String())
	}
	return list
}

// row is what the master knows of a worker's row of the board. It outlives generations.
type row struct {
	owner    *generation // nil: free
	used     bool        // by a worker that runs, or is about to be replaced
	restarts uint64
	beat     int64 // of the worker's heart, as last seen
	missed   int   // looks in a row that saw no new one
	silent   int   // those, and those between two lives
}

// fleet is all workers. Its methods may be called from any goroutine.
type fleet struct {
	board  *board.Board
	log    *log.Logger
	args   []string // of a worker process
	spec   func(row int) wire.WorkerSpec
	report func(wire.Suspect)

	respeccing sync.Mutex // so that specs arrive in the order in which they were in force

	mu          sync.Mutex
	rows        []row
	generations []*generation // the newest last
	retirements sync.WaitGroup
}

// start starts the workers of g and returns when all of them accept clients, or with an error and
// none of them and the addresses closed.
func (f *fleet) start(ctx context.Context, g *generation) error {
	if err := f.enter(g); err != nil {
		closeEntrances(g.entrances)
		return err
	}
	pool, err := prefork.Start(ctx, prefork.Config{
		Name:      "lb",
		Args:      f.args,
		Copies:    g.lanes,
		Most:      g.size,
		Apart:     true,
		Files:     []prefork.File{{Name: wire.FileBoard, File: f.board.File()}},
		PerLane:   g.filesOf,
		Hello:     func(i int) (string, any) { return wire.MessageSpec, f.occupy(g.rows[i]) },
		OnMessage: func(i int, m prefork.Message) { f.hear(g, i, m) },
		OnExit:    func(i, pid int, err error) { f.lost(g, i, pid, err) },
		Stdout:    os.Stdout, // for the access log
		Stderr:    os.Stderr,
		Log:       f.log,
	})
	if err != nil {
		f.leave(g)
		return err
	}
	f.mu.Lock()
	g.pool = pool
	f.mu.Unlock()
	f.tell() // what changed while the pool had no name yet
	select {
	case <-g.pending.none():
		f.mu.Lock()
		defer f.mu.Unlock()
		g.serving = true
		return nil
	case err = <-g.died:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(readyTimeout):
		err = fmt.Errorf("the workers were not ready within %v", readyTimeout)
	}
	_ = f.retire(ended(), g) // killed, as asked
	return err
}

// ended is for what is to end without patience.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// enter gives the workers of g rows of the board.
func (f *fleet) enter(g *generation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	g.rows = nil
	for i := range f.rows {
		if f.rows[i].owner == nil && len(g.rows) < g.size {
			g.rows = append(g.rows, i)
		}
	}
	if len(g.rows) < g.size {
		return errors.New("workers of an earlier listener still drain: try again when they have ended")
	}
	for _, r := range g.rows {
		f.rows[r].owner = g
	}
	f.generations = append(f.generations, g)
	return nil
}

// leave takes the rows back and closes the addresses. It may be called twice.
func (f *fleet) leave(g *generation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	closeEntrances(g.entrances)
	for i, other := range f.generations {
		if other == g {
			f.generations = append(f.generations[:i:i], f.generations[i+1:]...)
			for _, r := range g.rows {
				f.rows[r].owner, f.rows[r].used = nil, false
			}
			return
		}
	}
}

// occupy is what the worker that is about to use a row of the board is told.
func (f *fleet) occupy(r int) wire.WorkerSpec {
	f.board.Use(r)
	f.mu.Lock()
	f.rows[r].used = true
	f.mu.Unlock()
	return f.spec(r)
}

// retire has the workers of g drain, for as long as they were told to, and kills what remains when
// ctx ends. It returns when all have ended. Called again, it hastens the end.
func (f *fleet) retire(ctx context.Context, g *generation) error {
	f.mu.Lock()
	pool := g.pool
	if pool == nil { // start is at it, and ends what it starts when serving has ended
		f.mu.Unlock()
		return nil
	}
	g.retiring = true
	closeEntrances(g.entrances) // or newcomers would wait in the queues of workers that have closed theirs
	f.mu.Unlock()
	err := pool.Stop(ctx)
	f.leave(g)
	return err
}

// retireLater retires g in the background.
func (f *fleet) retireLater(g *generation, patience time.Duration) {
	f.retirements.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.retire(ctx, g); err != nil {
			f.log.Warn("earlier listener", "addresses", g.addresses(), "err", err)
		}
	})
}

// stop retires all generations.
func (f *fleet) stop(ctx context.Context) error {
	f.mu.Lock()
	all := f.generations
	f.mu.Unlock()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, g := range all {
		wg.Go(func() { errs[i] = f.retire(ctx, g) })
	}
	wg.Wait()
	f.retirements.Wait()
	return errors.Join(errs...)
}

// pools calls each with every pool that runs.
func (f *fleet) pools(each func(*generation, *prefork.Pool)) {
	f.mu.Lock()
	all := f.generations
	f.mu.Unlock()
	for _, g := range all {
		f.mu.Lock()
		pool := g.pool
		f.mu.Unlock()
		if pool != nil {
			each(g, pool)
		}
	}
}

// tell tells all workers that node cells have changed.
func (f *fleet) tell() {
	f.pools(func(_ *generation, p *prefork.Pool) { p.Broadcast(wire.MessageNodes, nil) })
}

// respec sends all workers the spec that is in force, and waits until they have taken it over.
func (f *fleet) respec() {
	f.respeccing.Lock()
	defer f.respeccing.Unlock()
	f.pools(func(g *generation, p *prefork.Pool) {
		for i, r := range g.rows {
			s := f.spec(r)
			s.Reload = true
			g.pending.add(i)
			if err := p.Send(i, wire.MessageSpec, s); err != nil {
				g.pending.done(i) // it has ended; its replacement begins with that spec
			}
		}
	})
	f.pools(func(g *generation, _ *prefork.Pool) {
		select {
		case <-g.pending.none():
		case <-time.After(readyTimeout):
			f.log.Warn("workers have not taken over the configuration", "within", readyTimeout)
		}
	})
}

// maxMissed is how many looks in a row may see no heartbeat of a worker before it is replaced. They
// are counted, not timed: when the whole machine was suspended, nobody has missed anything.
const maxMissed = 15

// replaceHung kills workers whose loop no longer turns: their clients are better off elsewhere. It is
// called once every sweepInterval, while all are served.
func (f *fleet) replaceHung() {
	f.pools(func(g *generation, p *prefork.Pool) {
		for i, r := range g.rows {
			if f.misses(r) == maxMissed {
				f.log.Error("worker hangs, killing it", "worker", r, "pid", p.PID(i))
				p.Kill(i)
			}
		}
	})
}

// maxSilent is how many looks in a row may see no heartbeat of a worker, nor of its replacement, before the balancer
// as a whole counts as hung.
const maxSilent = 2 * maxMissed

// alive says which worker is neither heard of nor replaced.
func (f *fleet) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.generations {
		if !g.serving || g.retiring {
			continue
		}
		for _, r := range g.rows {
			if f.rows[r].used && f.rows[r].silent >= maxSilent {
				return fmt.Errorf("worker %d hangs, and nothing has replaced it", r)
			}
		}
	}
	return nil
}

// misses looks at a worker's heartbeat and returns how many looks in a row have seen no new one.
func (f *fleet) misses(r int) int {
	beat := f.board.Worker(r).HeartbeatNs.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	row := &f.rows[r]
	if row.silent++; beat != 0 && beat != row.beat || !row.used {
		row.silent = 0
	}
	if row.missed++; beat == 0 || beat != row.beat { // 0 is between two lives
		row.beat, row.missed = beat, 0
	}
	return row.missed
}

// hear takes a message of worker i of g.
func (f *fleet) hear(g *generation, i int, m prefork.Message) {
	var err error
	switch m.Kind {
	case wire.MessageReady:
		g.pending.done(i)
	case wire.MessageSuspect:
		var s wire.Suspect
		if err = json.Unmarshal(m.Data, &s); err == nil {
			f.report(s)
		}
	case wire.MessageYield:
		var y wire.Yield
		if err = json.Unmarshal(m.Data, &y); err == nil {
			f.pass(y)
		}
	case wire.MessageDrained:
		f.log.Debug("worker has drained", "worker", g.rows[i])
	}
	if err != nil {
		f.log.Error("message of a worker", "worker", g.rows[i], "err", err)
	}
}

// pass passes a question on to the worker that it is for. One that has ended has no place any more.
func (f *fleet) pass(y wire.Yield) {
	f.pools(func(g *generation, p *prefork.Pool) {
		if i := slices.Index(g.rows, y.Worker); i >= 0 {
			_ = p.Send(i, wire.MessageYield, y)
		}
	})
}

// lost cleans up after worker i of g.
func (f *fleet) lost(g *generation, i, pid int, err error) {
	r := g.rows[i]
	f.board.ClearWorker(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	if g.serving {
		g.pending.done(i) // its replacement, if there is one, begins with the spec in force
	}
	if errors.Is(err, prefork.ErrDismissed) {
		f.rows[r].used = false
		return
	}
	if g.retiring {
		return
	}
	if err == nil {
		err = errors.New("exit status 0")
	}
	f.rows[r].restarts++
	f.log.Error("worker ended", "worker", r, "pid", pid, "err", err)
	if g.serving {
		return
	}
	select {
	case g.died <- fmt.Errorf("worker %d ended before it was ready: %w", r, err):
	default:
	}
}
