package chart

// Stretch is a part of a lane.
type Stretch struct {
	From, To float64
	Class    string
	Text     string
}

// Lane is what happens one after the other.
type Lane struct {
	Name      string
	Stretches []Stretch
	Moments   []Mark
}

// Timeline is what a template writes of some lanes.
type Timeline struct {
	Label  string
	XTicks []Tick
	Lanes  []LaneDrawing
	Height string
	Axis   string // where it is
	Names  string // where those of ticks are
	Titles string // where the label is
}

// LaneDrawing is a lane as it is drawn.
type LaneDrawing struct {
	Name  string
	NameY string
	Y     string
	Bars  []Bar
	Flags []Flag
}

// Bar is a stretch as it is drawn.
type Bar struct{ X, Width, Class, Text, Middle, TextY string }

const (
	laneHeight = 78.0
	edge       = 18.0
)

// DrawTimeline places lanes over one axis that begins at zero.
func DrawTimeline(x Axis, lanes []Lane) *Timeline {
	all := limits{0, 0}
	for _, l := range lanes {
		for _, s := range l.Stretches {
			all.take(s.To)
		}
		for _, m := range l.Moments {
			all.take(m.At)
		}
	}
	s := x.scale(all, edge, Width-edge, 8)
	base := 8 + laneHeight*float64(len(lanes))
	t := &Timeline{Label: x.Label, Height: place(base + 42), Axis: place(base), Names: place(base + 17), Titles: place(base + 36)}
	for _, v := range s.ticks {
		t.XTicks = append(t.XTicks, Tick{At: place(s.at(v)), Text: x.Print(v)})
	}
	for i, l := range lanes {
		y := 8 + laneHeight*float64(i)
		d := LaneDrawing{Name: l.Name, NameY: place(y + 12), Y: place(y + 34)}
		for _, b := range l.Stretches {
			from, to := s.at(b.From), s.at(b.To)
			bar := Bar{X: place(from), Width: place(max(to-from, 1)), Class: b.Class, Middle: place((from + to) / 2), TextY: place(y + 54)}
			if float64(len(b.Text))*7.5 < to-from {
				bar.Text = b.Text
			}
			d.Bars = append(d.Bars, bar)
		}
		last := -100.0
		for _, m := range l.Moments {
			at := s.at(m.At)
			label := max(at, last+17) // one beside the other
			last = label
			d.Flags = append(d.Flags, Flag{At: place(at), Label: place(label), Left: place(label - 8), Wide: "16", Number: place(float64(m.Number)), Text: m.Text, Y: place(y + 24)})
		}
		t.Lanes = append(t.Lanes, d)
	}
	return t
}
