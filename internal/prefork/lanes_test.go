package prefork

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// In each lane one copy takes, the first that has room; there is a spare one as long as there may be.
func TestLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "lanes")
		most := n + rapid.IntRange(1, 6).Draw(t, "more")
		l := newLanes(n, most)
		intakes := make([]Intake, most)
		occupy := func(i, lane int) {
			l.occupy(i, lane)
			intakes[i] = Closed
		}
		for i := range n {
			occupy(i, i)
		}
		settle := func(lane int) {
			if l.wanting(lane) {
				if i := l.vacant(); i >= 0 {
					occupy(i, lane)
				}
			}
			l.assign(lane, func(i int, intake Intake) { intakes[i] = intake })
		}
		now := time.Now()
		for lane := range n {
			settle(lane)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Second)
			i := rapid.IntRange(0, most-1).Draw(t, "copy")
			s := &l.seats[i]
			switch {
			case !s.taken:
				continue
			case !s.alive:
				occupy(i, s.lane)
			case rapid.IntRange(0, 9).Draw(t, "dies") == 0:
				l.ended(i, i < n || rapid.Bool().Draw(t, "kept"))
			default:
				l.hear(i, rapid.SampledFrom([]Level{Empty, Roomy, Filling, Full}).Draw(t, "level"), now)
			}
			for lane := range n {
				settle(lane)
			}
			for lane := range n {
				checkLane(t, l, lane, intakes)
			}
			if i, _ := l.superfluous(); i >= 0 && (i < n || intakes[i] != Closed || l.seats[i].level != Empty) {
				t.Fatalf("copy %d is superfluous: %+v", i, l.seats[i])
			}
		}
	})
}

func checkLane(t *rapid.T, l *lanes, lane int, intakes []Intake) {
	var serving, takers []int
	spare := false
	l.serving(lane, func(i int, s *seat) bool {
		serving = append(serving, i)
		if intakes[i] != s.intake {
			t.Fatalf("copy %d takes %s, should %s", i, intakes[i], s.intake)
		}
		if s.intake != Closed {
			takers = append(takers, i)
		}
		spare = spare || s.level == Roomy || s.level == Empty
		return true
	})
	if len(serving) == 0 {
		return
	}
	if len(takers) != 1 {
		t.Fatalf("lane %d: %v take, of %v", lane, takers, serving)
	}
	if !spare && l.vacant() >= 0 {
		t.Fatalf("lane %d: nobody has room, and nobody joins", lane)
	}
	for _, i := range serving {
		s := &l.seats[i]
		if s.level != Full && i < takers[0] {
			t.Fatalf("lane %d: copy %d takes, and %d has room", lane, takers[0], i)
		}
		if i == takers[0] && (s.intake == Open) != (s.level == Full) {
			t.Fatalf("lane %d: copy %d takes %s, being %s", lane, i, s.intake, s.level)
		}
	}
}

func TestFixedPoolHasNothingToDecide(t *testing.T) {
	if l := newLanes(3, 3); !l.fixed() || l.first() != Open {
		t.Errorf("%+v", l)
	}
}

func TestMost(t *testing.T) {
	for _, test := range []struct {
		lanes, items, perItem int
		nofile                uint64
		want                  int
	}{
		{2, 100_000, 2, 20_000, 13},
		{2, 100_000, 2, 1_000_000, 2},
		{2, 100_000, 2, 1024, 288},
		{2, 100_000, 2, 800, 0},
		{2, 100, 2, 20_000, 2},
		{64, 100_000, 2, 20_000, 75},
		{1, 35_000, 1, 20_000, 2},
		{1, 1, 1, Reserve, 0},
	} {
		if got := Most(test.lanes, test.items, test.perItem, test.nofile); got != test.want {
			t.Errorf("Most(%d, %d, %d, %d) = %d, want %d", test.lanes, test.items, test.perItem, test.nofile, got, test.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		lanes, nofile := rapid.IntRange(1, 8).Draw(t, "lanes"), rapid.Uint64Range(0, 3000).Draw(t, "nofile")
		items := rapid.IntRange(1, 200_000).Draw(t, "items")
		holds := Holds(lanes, items, 2, nofile)
		if holds > 0 && Most(lanes, holds, 2, nofile) == 0 || holds < items && Most(lanes, holds+1, 2, nofile) != 0 {
			t.Fatalf("holds %d", holds)
		}
	})
}

// door is a listener that only knows whether it is open.
type door struct{ paused bool }

func (d *door) Pause()  { d.paused = true }
func (d *door) Resume() { d.paused = false }

func intakeMessage(intake Intake) Message {
	data, _ := json.Marshal(intake)
	return Message{Kind: MessageIntake, Data: data}
}

func TestGate(t *testing.T) {
	var told []Level
	d := new(door)
	g := NewGate(Closed, 100, func(_ string, data any) { told = append(told, data.(Level)) })
	g.Add(d)
	now := int64(time.Hour)
	step := func(held int, later time.Duration, want Level, paused bool) {
		t.Helper()
		now += int64(later)
		g.Look(held, now)
		if g.level != want || d.paused != paused || want != Roomy && (len(told) == 0 || told[len(told)-1] != want) {
			t.Errorf("%d held: %s, paused %v, told %s; want %s, %v", held, g.level, d.paused, told, want, paused)
		}
	}
	obey := func(intake Intake, held int) {
		t.Helper()
		if err := g.Obey(intakeMessage(intake), held, now); err != nil {
			t.Fatal(err)
		}
	}
	step(0, 0, Empty, true)
	obey(Measured, 0)
	step(1, 0, Roomy, false)
	for held := 2; held < 80; held++ { // slowly
		step(held, 100*time.Millisecond, Roomy, false)
	}
	step(80, time.Second, Filling, false)
	step(76, time.Second, Filling, false)
	step(74, time.Second, Roomy, false)
	step(100, time.Second, Full, true)
	step(76, time.Second, Full, true)
	step(74, time.Second, Roomy, false)
	obey(Closed, 0)
	step(0, time.Second, Empty, true)
	obey(Measured, 0)
	step(0, time.Second, Roomy, false)
	for held := 1; held < 50; held++ { // a burst: as many again would fill it
		step(held, time.Millisecond, Roomy, false)
	}
	step(50, time.Millisecond, Filling, false)
	step(100, time.Millisecond, Full, true)
	obey(Open, 100)
	step(105, time.Second, Full, false)
}

// gated is a copy with room for ten items; it holds as many as it is told, and tells what it may take.
func gated() {
	c := inherit()
	g := NewGate(c.Intake, 10, func(kind string, data any) { _ = c.Send(kind, data) })
	held := 0
	for {
		m, err := c.Receive()
		if err != nil {
			os.Exit(0)
		}
		now := time.Now().UnixNano()
		switch m.Kind {
		case "hold":
			err = json.Unmarshal(m.Data, &held)
			g.Look(held, now)
		case MessageIntake:
			if err = g.Obey(m, held, now); err == nil {
				err = c.Send("takes", m.Data)
			}
		case "crash":
			os.Exit(3)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
}

func init() { copies["gated"] = gated }

func TestPoolGrowsAndShrinks(t *testing.T) {
	linger := 50 * time.Millisecond
	lanes := make(map[int]int)
	h := start(t, "gated", 1, func(c *Config) {
		c.Most, c.Linger = 3, linger
		c.PerLane = func(lane int) []File {
			lanes[lane]++ // on the pool's goroutine alone
			return nil
		}
	})
	takes := func(want ...Intake) { // by copy; "" is one that does not run
		t.Helper()
		await(t, fmt.Sprintf("the copies take %s", want), func() bool { return slices.Equal(h.takes(len(want)), want) })
	}
	takes(Measured)
	h.send(t, 0, "hold", 8)
	h.awaitEvents(t, "start", 2)
	takes(Measured, Closed)
	h.send(t, 0, "hold", 10)
	takes(Closed, Measured)
	h.awaitEvents(t, "start", 2)
	h.send(t, 1, "hold", 10)
	takes(Closed, Closed, Measured)
	h.send(t, 2, "hold", 10)
	takes(Closed, Closed, Open)
	h.send(t, 0, "hold", 3)
	takes(Measured, Closed, Closed)

	h.send(t, 2, "hold", 0)
	h.send(t, 1, "hold", 0)
	for _, e := range h.awaitEvents(t, "exit", 2) {
		if e.Copy == 0 || !errors.Is(e.Err, ErrDismissed) {
			t.Errorf("exit %+v", e)
		}
	}
	if h.PID(1) != 0 || h.PID(2) != 0 {
		t.Error("a copy that was dismissed runs")
	}

	h.send(t, 0, "hold", 10) // and again
	h.awaitEvents(t, "start", 4)
	h.send(t, 0, "crash", nil) // its replacement is the first with room
	h.awaitEvents(t, "start", 5)
	await(t, "the replacement takes", func() bool {
		list := h.takes(3)
		return list[0] == Measured && list[1] != Measured && list[2] != Measured
	})
	if err := h.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if len(lanes) != 1 {
		t.Errorf("lanes %v", lanes)
	}
}

// takes is what the copies said last that they take, in their present lives.
func (h *harness) takes(n int) []Intake {
	list := make([]Intake, n)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Copy >= n {
			continue
		}
		switch {
		case e.What == "start":
			list[e.Copy] = Closed
		case e.What == "exit":
			list[e.Copy] = ""
		case e.Message.Kind == "takes":
			_ = json.Unmarshal(e.Message.Data, &list[e.Copy])
		}
	}
	return list
}

// A pool that cannot add a copy has the last one take everything, and tries again.
func TestPoolThatCannotGrow(t *testing.T) {
	fine := make(chan bool, 1)
	fine <- true
	refused := false
	h := start(t, "gated", 1, func(c *Config) {
		c.Most = 2
		c.PerLane = func(int) []File {
			select {
			case <-fine:
				return nil
			default:
				refused = true // on the pool's goroutine alone
				return []File{{"nothing", nil}}
			}
		}
	})
	h.send(t, 0, "hold", 10)
	await(t, "the only copy takes everything", func() bool { return h.takes(1)[0] == Open })
	fine <- true
	await(t, "another one joins", func() bool { return slices.Equal(h.takes(2), []Intake{Closed, Measured}) })
	if err := h.Stop(t.Context()); err != nil || !refused {
		t.Errorf("%v, refused %v", err, refused)
	}
}
