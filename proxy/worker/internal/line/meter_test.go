package line

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// meterOver gives a worker without a loop: all a meter looks at.
func meterOver(t interface{ Fatal(...any) }, perSecondLimit int, reject bool) (*Frontend, board.SlotID, func()) {
	shared, err := board.Create(board.Layout{Workers: 1, Sources: 1024})
	if err != nil {
		t.Fatal(err)
	}
	w := &Frontend{Hub: &hub.Hub{Board: shared, Cell: shared.Worker(0), MaxMessage: 1 << 20}}
	w.Limits.Message, w.Limits.Reject = policy.PerSecond(perSecondLimit), reject
	return w, shared.Sources().Find(netip.MustParseAddr("192.0.2.1"), mono.Now()), func() { shared.Close() }
}

// However a stream is cut, the same bytes are forwarded, the same messages
// counted and the same lines dropped.
func TestMeterDoesNotSeeCuts(t *testing.T) {
	line := rapid.SampledFrom([]string{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `[{"id":1,"method":"a"},{"id":"x\n","method":"b"}]`, ``, `  `, `garbage`, `{"id":7,"method":"` + strings.Repeat("m", 200) + `"}`,
	})
	rapid.Check(t, func(t *rapid.T) {
		stream := []byte(strings.Join(rapid.SliceOfN(line, 1, 40).Draw(t, "lines"), "\n") + "\n")
		reject := rapid.Bool().Draw(t, "reject")
		cuts := rapid.SliceOfN(rapid.IntRange(1, 64), 1, 64).Draw(t, "cuts")
		whole := runMeter(t, stream, reject, []int{len(stream)})
		pieces := runMeter(t, stream, reject, cuts)
		if !bytes.Equal(whole.forwarded, pieces.forwarded) || whole.messages != pieces.messages || whole.rejects != pieces.rejects {
			t.Fatalf("whole: %d messages, %d rejects\n%q\nin pieces: %d messages, %d rejects\n%q",
				whole.messages, whole.rejects, whole.forwarded, pieces.messages, pieces.rejects, pieces.forwarded)
		}
		if !reject && !bytes.Equal(whole.forwarded, stream) {
			t.Fatalf("throttling lost bytes: %q of %q", whole.forwarded, stream)
		}
	})
}

type meterRun struct {
	forwarded []byte
	messages  int
	rejects   uint64
}

func runMeter(t *rapid.T, stream []byte, reject bool, cuts []int) meterRun {
	w, source, done := meterOver(t, 10, reject)
	defer done()
	var m meter
	var run meterRun
	now := mono.Now() // stands still: what is over the rate stays over it
	for i := 0; len(stream) > 0; i++ {
		piece := stream[:min(cuts[i%len(cuts)], len(stream))]
		stream = stream[len(piece):]
		for len(piece) > 0 {
			v := m.measure(w, source, piece, now)
			if v.consumed == 0 && m.dropped == nil {
				t.Fatalf("no progress on %q", piece)
			}
			run.forwarded = append(run.forwarded, piece[:v.forward]...)
			run.messages += v.messages
			piece = piece[v.consumed:]
			if len(v.answer) > 0 && !json.Valid(v.answer) {
				t.Fatalf("answer %q", v.answer)
			}
			if v.wait > 0 && reject {
				t.Fatal("rejecting throttles")
			}
		}
	}
	run.rejects = w.Cell.Rejects.Load()
	return run
}

func TestMeterDoesNotAllocate(t *testing.T) {
	w, source, done := meterOver(t, 10, false)
	defer done()
	var m meter
	data := []byte(strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n", 8))
	now := mono.Now()
	allocs := testing.AllocsPerRun(100, func() {
		for rest := data; len(rest) > 0; {
			rest = rest[m.measure(w, source, rest, now).consumed:]
		}
	})
	if allocs != 0 {
		t.Errorf("%.1f allocations", allocs)
	}
}

// The limit may be lifted while a rejected line is being dropped.
func TestLimitIsLiftedInsideARejectedLine(t *testing.T) {
	w, source, done := meterOver(t, 1, true)
	defer done()
	var m meter
	line := []byte(`{"id":1,"method":"ping"}` + "\n")
	m.measure(w, source, line, 1)
	m.measure(w, source, line[:5], 1)
	if m.dropped == nil {
		t.Fatal("not rejected")
	}
	w.Limits.Message = policy.PerSecond(0)
	v := m.measure(w, source, line[5:], 1)
	if v.consumed != len(line)-5 || !strings.Contains(string(v.answer), `"retryAfterMs":0`) {
		t.Fatalf("consumed %d of %d, answered %q", v.consumed, len(line)-5, v.answer)
	}
}
