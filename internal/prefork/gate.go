package prefork

import (
	"encoding/json"
	"time"
)

// Messages between a pool and the gates of its copies. The pool keeps those of its copies for itself; a copy hands
// those that it receives to its Gate.
const (
	messageLevel = "prefork.level"

	// MessageIntake is for [Gate.Obey].
	MessageIntake = "prefork.intake"
)

// Door is a listener that can stop to take.
type Door interface {
	Pause()
	Resume()
}

// Gate is a copy's end of its lane: it shuts the doors when the copy is full or another one takes, and tells the pool
// how full the copy is. It belongs to one goroutine.
type Gate struct {
	room  int
	doors []Door
	tell  func(kind string, data any)

	intake Intake
	level  Level
	shut   bool
	marks  [2]mark // the last one, and the one before
}

// mark is how many items a copy held at an instant.
type mark struct{ held, at int64 }

// growthWindow is how long a copy is watched for how fast it fills; a mark is as old as that at least, or twice.
const growthWindow = int64(250 * time.Millisecond)

// NewGate makes the gate of a copy with room for so many items. tell sends the pool a message.
func NewGate(intake Intake, room int, tell func(kind string, data any)) *Gate {
	return &Gate{room: room, tell: tell, intake: intake, level: Roomy, shut: intake == Closed}
}

// Add puts a listener under the gate.
func (g *Gate) Add(d Door) {
	g.doors = append(g.doors, d)
	if g.shut {
		d.Pause()
	}
}

// Resize sets how many items there is room for.
func (g *Gate) Resize(room int) { g.room = room }

// Obey takes a MessageIntake over.
func (g *Gate) Obey(m Message, held int, now int64) error {
	var intake Intake
	if err := json.Unmarshal(m.Data, &intake); err != nil {
		return err
	}
	g.intake = intake
	g.Look(held, now)
	g.shutOrOpen()
	return nil
}

// Look is called when the copy has taken an item, and now and then: held is how many it holds, now an instant in
// nanoseconds.
func (g *Gate) Look(held int, now int64) {
	if g.intake == Open && g.level != Full {
		return
	}
	if level := g.levelOf(int64(held), now); level != g.level {
		g.level = level
		g.tell(messageLevel, level)
		g.shutOrOpen()
	}
}

// levelOf is full from the last item that there is room for, and filling from four fifths, or earlier if as many
// items as came lately would fill it. It goes back a level only well below.
func (g *Gate) levelOf(held, now int64) Level {
	switch age := now - g.marks[0].at; {
	case age >= 2*growthWindow:
		g.marks = [2]mark{{held, now}, {held, now}}
	case age >= growthWindow:
		g.marks = [2]mark{{held, now}, g.marks[0]}
	}
	room, gain := int64(g.room), max(held-g.marks[1].held, 0)
	below := held < room-room/4
	switch {
	case held >= room, g.level == Full && !below:
		return Full
	case held >= room-room/5, held+gain >= room, g.level == Filling && !below:
		return Filling
	case held == 0 && g.intake == Closed:
		return Empty
	}
	return Roomy
}

func (g *Gate) shutOrOpen() {
	shut := g.intake == Closed || g.intake == Measured && g.level == Full
	if shut == g.shut {
		return
	}
	g.shut = shut
	for _, d := range g.doors {
		if shut {
			d.Pause()
		} else {
			d.Resume()
		}
	}
}
