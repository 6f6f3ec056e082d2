package prefork

import "time"

// A pool that may grow has as many lanes as it starts with copies. A lane is the sockets that its copies share;
// one of them at a time takes what comes there, until it is full and the next one goes on:
//
//	lane 0   copy 0 (full)   copy 2 (full)   copy 3 (takes)
//	lane 1   copy 1 (full)   copy 4 (takes)  copy 5 (starting: copy 4 fills up)
//
// The first copy that has room takes, so a pool that empties falls back on few, and copies that hold nothing for a
// while are dismissed. What comes while nobody takes waits in the queues of the sockets.

// Level is how much room a copy has.
type Level string

// Levels. Empty is told only by a copy that takes nothing.
const (
	Empty   Level = "empty"
	Roomy   Level = "room"
	Filling Level = "filling" // it will soon be full
	Full    Level = "full"
)

// Intake is what a copy takes of what comes in its lane.
type Intake string

// Intakes.
const (
	Closed   Intake = "closed"   // nothing
	Measured Intake = "measured" // what it has room for
	Open     Intake = "open"     // everything: nobody else is going to take it
)

// seat is the place of one copy.
type seat struct {
	lane    int
	taken   bool // by a copy, or until its replacement starts
	alive   bool
	leaving bool // dismissed
	level   Level
	intake  Intake
	idle    time.Time // since when it is Empty, zero = it is not
}

// lanes decides who takes, when there must be another copy, and when one can go. It does nothing by itself.
type lanes struct {
	n     int // how many
	seats []seat
}

func newLanes(n, most int) *lanes { return &lanes{n: n, seats: make([]seat, most)} }

// fixed reports that there is nothing to decide: every copy takes all that comes in a lane of its own.
func (l *lanes) fixed() bool { return l.n == len(l.seats) }

// first is what a copy takes before it is told.
func (l *lanes) first() Intake {
	if l.fixed() {
		return Open
	}
	return Closed
}

// occupy notes that copy i runs.
func (l *lanes) occupy(i, lane int) {
	l.seats[i] = seat{lane: lane, taken: true, alive: true, level: Roomy, intake: l.first()}
}

// ended notes that copy i does not run; kept is whether another one will take its place.
func (l *lanes) ended(i int, kept bool) {
	s := &l.seats[i]
	*s = seat{lane: s.lane, taken: kept}
}

// vacant is a seat for another copy, -1 if there is none.
func (l *lanes) vacant() int {
	for i := range l.seats {
		if !l.seats[i].taken {
			return i
		}
	}
	return -1
}

// hear notes the level of copy i.
func (l *lanes) hear(i int, level Level, now time.Time) {
	s := &l.seats[i]
	s.level = level
	switch {
	case level != Empty:
		s.idle = time.Time{}
	case s.idle.IsZero():
		s.idle = now
	}
}

// serving calls each with the copies of a lane that are there to stay, the first one first.
func (l *lanes) serving(lane int, each func(i int, s *seat) (more bool)) {
	for i := range l.seats {
		if s := &l.seats[i]; s.lane == lane && s.alive && !s.leaving && !each(i, s) {
			return
		}
	}
}

// taker is the copy that should take what comes in a lane, -1 if none has room; last is the last one.
func (l *lanes) taker(lane int) (taker, last int) {
	taker, last = -1, -1
	l.serving(lane, func(i int, s *seat) bool {
		last = i
		if taker < 0 && s.level != Full {
			taker = i
		}
		return true
	})
	return taker, last
}

// wanting reports whether a lane needs another copy.
func (l *lanes) wanting(lane int) bool {
	roomy, some := false, false
	l.serving(lane, func(_ int, s *seat) bool {
		some = true
		roomy = s.level == Roomy || s.level == Empty
		return !roomy
	})
	return some && !roomy
}

// assign has the copies of a lane take what they should. Each is told where that is new.
func (l *lanes) assign(lane int, tell func(i int, intake Intake)) {
	taker, last := l.taker(lane)
	l.serving(lane, func(i int, s *seat) bool {
		intake := Closed
		switch {
		case i == taker:
			intake = Measured
		case taker < 0 && i == last:
			intake = Open
		}
		if intake != s.intake {
			s.intake = intake
			tell(i, intake)
		}
		return true
	})
}

// superfluous is a copy that could be dismissed, and since when it is idle; -1 if there is none. A copy that is idle
// because the one that takes is not full yet, but will be, is none.
func (l *lanes) superfluous() (i int, since time.Time) {
	i = -1
	for j := range l.seats {
		s := &l.seats[j]
		if j < l.n || !s.alive || s.leaving || s.intake != Closed || s.idle.IsZero() || i >= 0 && !s.idle.Before(since) {
			continue
		}
		if taker, _ := l.taker(s.lane); taker >= 0 && l.seats[taker].level == Roomy {
			i, since = j, s.idle
		}
	}
	return i, since
}
