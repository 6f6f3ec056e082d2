package board

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// childRole makes the test binary a worker of the board that is its fourth
// descriptor; the value is the worker's number.
const childRole = "ERLMCP_TEST_BOARD_WORKER"

const sharedSources = 600

// tally is what a worker did, by its own count.
type tally struct {
	Accepted, Relayed, Held uint64
	Slots                   []SlotID // of the shared sources
	Nodes                   []int    // they are with
}

// child works on the board until its standard input ends, then prints its tally
// and goes, its connections still open. It prints a dot when it has begun.
func child(role string) {
	w, err := strconv.Atoi(role)
	if err != nil {
		panic(err)
	}
	b, err := Open(os.NewFile(3, "board"))
	if err != nil {
		panic(err)
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			panic(err)
		}
	}()
	fmt.Println(".")
	if err := json.NewEncoder(os.Stdout).Encode(work(b, w, stop)); err != nil {
		panic(err)
	}
}

func work(b *Board, w int, stop <-chan struct{}) (t tally) {
	s := b.Sources()
	cell := b.Worker(w)
	cell.PID.Store(int64(os.Getpid()))
	var held []SlotID
	for i := 0; ; i++ {
		select {
		case <-stop:
			t.Held = uint64(len(held))
			for i := range sharedSources {
				id := s.Find(addr(i), mono.Now())
				node, _ := s.Sticky(id)
				t.Slots, t.Nodes = append(t.Slots, id), append(t.Nodes, node)
			}
			return t
		default:
		}
		now := mono.Now()
		id := s.Find(addr((i*7+w*13)%sharedSources), now)
		node := s.SetSticky(id, NoNode, (i+w)%4)
		Charge(s.ConnectionRate(id), now, 1, sec, 1)
		s.Violation(id, addr((i*7+w*13)%sharedSources), now, time.Minute, 1_000_000, time.Minute)
		s.Enter(w, id)
		held = append(held, id)
		flow := b.Flow(w, max(0, node))
		flow.Active.Add(1)
		flow.Total.Add(1)
		cell.Active.Add(1)
		cell.Accepted.Add(1)
		cell.HeartbeatNs.Store(now)
		t.Accepted++
		t.Relayed++
		if len(held) > 50 {
			s.Leave(w, held[0], now)
			held = held[1:]
			// Which node it was with does not matter to the sums.
			flow.Active.Add(-1)
			cell.Active.Add(-1)
		}
	}
}

type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

func startWorker(t *testing.T, b *Board, w int) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", childRole, w))
	cmd.ExtraFiles = []*os.File{b.File()}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, stdin, bufio.NewReader(stdout)}
	t.Cleanup(p.kill)
	if _, err := p.out.ReadString('\n'); err != nil {
		t.Fatalf("worker %d did not start: %v", w, err)
	}
	return p
}

// kill ends the worker without warning and reaps it. Both fail once it is reaped.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// stop ends the worker in good order and returns its tally.
func (p *process) stop(t *testing.T) (got tally) {
	t.Helper()
	p.stdin.Close()
	out, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("worker: %v", err)
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &got); err != nil {
		t.Fatalf("worker's tally %q: %v", out, err)
	}
	return got
}

func totals(b *Board) (accepted, total uint64) {
	for w := range b.Layout().Workers {
		accepted += b.Worker(w).Accepted.Load()
	}
	for i := range 4 {
		total += b.NodeTotals(i).Total
	}
	return accepted, total
}

// TestWorkersComeAndGo has several processes write at once, kills one of them
// without warning, several times, and checks that nothing is lost but its own
// connections.
func TestWorkersComeAndGo(t *testing.T) {
	const workers, victim, kills = 4, 2, 5
	b := newNodes(t, Layout{Workers: workers, Sources: 2048}, 4)
	s := b.Sources()
	var procs [workers]*process
	for w := range procs {
		procs[w] = startWorker(t, b, w)
	}
	var lastAccepted, lastTotal uint64
	monotone := func() {
		accepted, total := totals(b)
		if accepted < lastAccepted || total < lastTotal {
			t.Fatalf("totals went back: %d to %d, %d to %d", lastAccepted, accepted, lastTotal, total)
		}
		lastAccepted, lastTotal = accepted, total
	}
	for range kills {
		before := b.Worker(victim).Accepted.Load()
		waittest.Until(t, 30*time.Second, "the victim to work", func() bool {
			monotone()
			return b.Worker(victim).Accepted.Load() > before+1000
		})
		procs[victim].kill()
		monotone()
		counted := b.Worker(victim).Accepted.Load()
		b.ClearWorker(victim)
		monotone()
		if got := b.Worker(victim).Accepted.Load(); got != counted {
			t.Fatalf("accepted %d, was %d before the worker's cells were cleared", got, counted)
		}
		if b.Worker(victim).Active.Load() != 0 || b.Worker(victim).PID.Load() != 0 {
			t.Fatal("a gauge of the dead worker is left")
		}
		for id := range SlotID(s.Tracked()) {
			if n := s.row(victim, id).Load(); n != 0 {
				t.Fatalf("slot %d still counts %d connections of the dead worker", id, n)
			}
		}
		procs[victim] = startWorker(t, b, victim)
	}

	tallies := make([]tally, workers)
	for w, p := range procs {
		tallies[w] = p.stop(t)
	}
	monotone()
	var held int64
	for w, got := range tallies {
		if w != victim && b.Worker(w).Accepted.Load() != got.Accepted {
			t.Errorf("worker %d counted %d, the board %d", w, got.Accepted, b.Worker(w).Accepted.Load())
		}
		if b.Worker(w).Active.Load() != int64(got.Held) {
			t.Errorf("worker %d holds %d, the board says %d", w, got.Held, b.Worker(w).Active.Load())
		}
		held += int64(got.Held)
		for i := range got.Slots {
			if got.Slots[i] != tallies[0].Slots[i] || got.Nodes[i] != tallies[0].Nodes[i] {
				t.Errorf("source %d: worker %d says slot %d and node %d, worker 0 slot %d and node %d", i, w,
					got.Slots[i], got.Nodes[i], tallies[0].Slots[i], tallies[0].Nodes[i])
			}
		}
	}
	if b.Active() != held {
		t.Errorf("active %d, the workers hold %d", b.Active(), held)
	}
	var live, active int64
	for id := range SlotID(s.Tracked()) {
		live += int64(s.Live(id))
	}
	for i := range 4 {
		active += b.NodeActive(i)
	}
	if live != held || active != held {
		t.Errorf("%d connections live by source and %d by node, the workers hold %d", live, active, held)
	}
	checkTable(t, s)

	// The survivors leave too, as far as the master is concerned.
	for w := range workers {
		b.ClearWorker(w)
	}
	for id := range SlotID(s.Tracked()) {
		if s.Live(id) != 0 {
			t.Fatalf("slot %d still has connections", id)
		}
	}
}
