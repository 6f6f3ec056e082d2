package board

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what the source table promises, kept in a map.
type model struct {
	board   *Board
	sources map[int]*modelSource // by number of address
	down    [3]int               // times each node went down
	now     int64
}

type modelSource struct {
	id       SlotID
	live     [2]int // by worker
	node     int
	down     int // of the node, when it was chosen
	seen     int64
	banUntil int64
	owes     int64 // until when
}

func (m *model) live(x *modelSource) int { return x.live[0] + x.live[1] }

func (m *model) idle(x *modelSource) bool { return m.live(x) == 0 && m.now-x.seen > modelTTL }

// reusable includes sources that make room in a full set.
func (m *model) reusable(x *modelSource) bool {
	rests := m.idle(x) || m.live(x) == 0 && m.now-x.seen > settleTime
	return rests && x.banUntil <= m.now && x.owes <= m.now
}

func (m *model) nodeOf(x *modelSource) int {
	if x.node != NoNode && m.down[x.node] != x.down {
		return NoNode
	}
	return x.node
}

const modelTTL = 4_000_000 << seenStepBits // 4 s

// TestSourcesAgainstAMap plays random sequences on a small table and on a map.
// The table may take slots only from sources that are reusable by the model;
// in everything else the two agree.
func TestSourcesAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{board: newNodes(t, Layout{Workers: 2, Sources: 64}, 3), sources: map[int]*modelSource{}, now: 1 << seenStepBits}
		m.board.Global().SourceTTLNs.Store(modelTTL)
		for i := range m.down {
			m.down[i] = int(m.board.Node(i).Generation.Load())
		}
		t.Repeat(map[string]func(*rapid.T){
			"find":   m.find,
			"enter":  m.enter,
			"leave":  m.leave,
			"choose": m.choose,
			"ban":    m.ban,
			"charge": m.charge,
			"down":   m.nodeDown,
			"kill":   m.kill,
			"pass": func(t *rapid.T) {
				m.now += rapid.Int64Range(1, modelTTL>>seenStepBits).Draw(t, "steps") << seenStepBits
			},
			"": m.check,
		})
	})
}

// some draws a source that has a slot.
func (m *model) some(t *rapid.T) *modelSource {
	if len(m.sources) == 0 {
		t.Skip("no source has a slot")
	}
	return m.sources[rapid.SampledFrom(slices.Sorted(maps.Keys(m.sources))).Draw(t, "address")]
}

func (m *model) find(t *rapid.T) {
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, 150), 1, 40).Draw(t, "addresses") {
		m.findOne(t, i)
	}
}

func (m *model) findOne(t *rapid.T, i int) {
	s := m.board.Sources()
	id := s.Find(addr(i), m.now)
	x := m.sources[i]
	if s.Overflow(id) {
		if x != nil && !m.reusable(x) {
			t.Fatalf("source %d lost its slot %d", i, x.id)
		}
		delete(m.sources, i)
		return
	}
	for other, y := range m.sources {
		if y.id == id && other != i {
			if !m.reusable(y) {
				t.Fatalf("source %d was given slot %d of source %d: %+v at %d", i, id, other, *y, m.now)
			}
			delete(m.sources, other)
		}
	}
	switch {
	case x != nil && x.id == id:
		if m.idle(x) {
			x.node = NoNode
		}
	case x != nil && !m.reusable(x):
		t.Fatalf("source %d moved from slot %d to %d", i, x.id, id)
	default:
		x = &modelSource{id: id, node: NoNode}
		m.sources[i] = x
	}
	x.seen = m.now
}

func (m *model) enter(t *rapid.T) {
	x := m.some(t)
	w := rapid.IntRange(0, 1).Draw(t, "worker")
	if m.now-x.seen > modelTTL && m.live(x) == 0 {
		t.Skip("not found lately")
	}
	m.board.Sources().Enter(w, x.id)
	x.live[w]++
}

func (m *model) leave(t *rapid.T) {
	x := m.some(t)
	w := rapid.IntRange(0, 1).Draw(t, "worker")
	if x.live[w] == 0 {
		t.Skip("not entered")
	}
	m.board.Sources().Leave(w, x.id, m.now)
	x.live[w]--
	x.seen = m.now
}

func (m *model) choose(t *rapid.T) {
	x := m.some(t)
	if m.idle(x) {
		t.Skip("may be taken over any time")
	}
	from := rapid.IntRange(NoNode, 2).Draw(t, "from")
	to := rapid.IntRange(NoNode, 2).Draw(t, "to")
	want := m.nodeOf(x)
	if want == from {
		want, x.node = to, to
		if to != NoNode {
			x.down = m.down[to]
		}
	}
	if got := m.board.Sources().SetSticky(x.id, from, to); got != want {
		t.Fatalf("SetSticky(%d, %d) = %d, want %d", from, to, got, want)
	}
}

func (m *model) ban(t *rapid.T) {
	x := m.some(t)
	if m.idle(x) {
		t.Skip("may be taken over any time")
	}
	until := m.now + rapid.Int64Range(0, 3*modelTTL).Draw(t, "ns")
	m.board.Sources().Ban(x.id, until)
	x.banUntil = max(x.banUntil, until)
	if rapid.Bool().Draw(t, "lift") {
		m.board.Sources().Unban(x.id)
		x.banUntil = 0
	}
}

func (m *model) charge(t *rapid.T) {
	x := m.some(t)
	if m.idle(x) {
		t.Skip("may be taken over any time")
	}
	rate := m.board.Sources().ConnectionRate(x.id)
	ChargeAnyway(rate, m.now, rapid.Int64Range(1, 2*modelTTL).Draw(t, "interval"), 1, 1)
	x.owes = rate.Load()
}

func (m *model) nodeDown(t *rapid.T) {
	i := rapid.IntRange(0, 2).Draw(t, "node")
	m.board.SetNodeState(i, Down, time.Unix(0, m.now))
	m.board.SetNodeState(i, Up, time.Unix(0, m.now))
	m.down[i]++
}

// kill is the death of a worker: what it held is no longer live, and was seen
// until now.
func (m *model) kill(t *rapid.T) {
	w := rapid.IntRange(0, 1).Draw(t, "worker")
	m.board.Sources().clear(w, m.now)
	for _, x := range m.sources {
		if x.live[w] > 0 {
			x.live[w], x.seen = 0, m.now
		}
	}
}

func (m *model) check(t *rapid.T) {
	s := m.board.Sources()
	for i, x := range m.sources {
		id, ok := s.Lookup(addr(i))
		if !ok || id != x.id {
			t.Fatalf("source %d is in slot %d %v, want %d", i, id, ok, x.id)
		}
		if got := s.Live(id); got != m.live(x) {
			t.Fatalf("source %d has %d connections, want %d", i, got, m.live(x))
		}
		if got, _ := s.Sticky(id); got != m.nodeOf(x) {
			t.Fatalf("source %d is with node %d, want %d", i, got, m.nodeOf(x))
		}
		if got := s.BannedUntil(id); got != x.banUntil && (got > m.now || x.banUntil > m.now) {
			t.Fatalf("source %d is banned until %d, want %d", i, got, x.banUntil)
		}
	}
	for _, problem := range tableProblems(s) {
		t.Fatal(problem)
	}
}
