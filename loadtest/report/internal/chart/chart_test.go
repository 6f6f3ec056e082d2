package chart

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func text(v float64) string { return fmt.Sprintf("%g", v) }

// However many points there are, the highest and the lowest are drawn.
func TestThinnedKeepsPeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		y := rapid.SliceOfN(rapid.Float64Range(-1000, 1000), 1, 5000).Draw(t, "y")
		x := make([]float64, len(y))
		for i := range x {
			x[i] = float64(i)
		}
		xs, ys := thinned(x, y, 100, finite)
		if len(ys) > 102 || !slices.IsSorted(xs) {
			t.Fatalf("%d points, sorted: %t", len(ys), slices.IsSorted(xs))
		}
		if slices.Max(ys) != slices.Max(y) || slices.Min(ys) != slices.Min(y) {
			t.Fatalf("from %v to %v, not from %v to %v", slices.Min(ys), slices.Max(ys), slices.Min(y), slices.Max(y))
		}
	})
}

// Whatever is measured, all that is drawn lies within the chart, and axes have ticks.
func TestDrawStaysInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Kind{Linear, Log}).Draw(t, "kind")
		value := rapid.OneOf(rapid.Float64Range(1e-6, 1e12), rapid.Just(0.0), rapid.Just(math.NaN()))
		c := Chart{Title: "t", X: Axis{Label: "x", Kind: Span, Print: text}, Y: Axis{Label: "y", Kind: kind, Print: text}}
		for range rapid.IntRange(1, 12).Draw(t, "lines") {
			l := Line{Name: "l", Y: rapid.SliceOfN(value, 2, 40).Draw(t, "y")}
			for i := range l.Y {
				l.X = append(l.X, float64(i))
			}
			c.Lines = append(c.Lines, l)
		}
		d := c.Draw()
		if d == nil {
			return
		}
		if len(d.XTicks) < 2 || len(d.YTicks) < 1 {
			t.Fatalf("ticks %v, %v", d.XTicks, d.YTicks)
		}
		for _, p := range d.Paths {
			for _, point := range strings.FieldsFunc(p.D, func(r rune) bool { return r == 'M' || r == 'L' }) {
				var x, y float64
				if _, err := fmt.Sscanf(strings.TrimSuffix(point, "h.1"), "%g %g", &x, &y); err != nil || x < left || x > Width-right || y < top || y > Height-bottom {
					t.Fatalf("%q: %v, %v, %v", point, x, y, err)
				}
			}
		}
	})
}

func TestGapsAndMarks(t *testing.T) {
	c := Chart{
		X: Axis{Kind: Span, Print: text}, Y: Axis{Print: text}, Lines: []Line{{Name: "a", X: []float64{0, 1, 2, 3, 4}, Y: []float64{1, 2, math.NaN(), 3, 4}}},
		Marks: []Mark{{At: 1, Number: 1, Text: "one"}, {At: 1.01, Number: 2, Text: "two"}, {At: 3, Number: 3, Text: "three"}, {At: 9, Number: 4, Text: "outside"}},
	}
	d := c.Draw()
	if n := strings.Count(d.Paths[0].D, "M"); n != 2 {
		t.Errorf("%d pieces: %s", n, d.Paths[0].D)
	}
	if len(d.Flags) != 3 || d.Flags[0].Number != "1–2" || d.Flags[0].Text != "1: one; 2: two" || d.Flags[1].Label != "" || d.Flags[2].Number != "3" {
		t.Errorf("%+v", d.Flags)
	}
	for _, empty := range []Chart{{}, {Lines: []Line{{X: []float64{1}, Y: []float64{1}}}}, {Lines: []Line{{X: []float64{1, 2}, Y: []float64{math.NaN(), 1}}}}} {
		if empty.Draw() != nil {
			t.Errorf("drawn: %+v", empty)
		}
	}
}

// Of many lines, those that are asked for and the extremes have colours.
func TestCrowd(t *testing.T) {
	c := Chart{X: Axis{Kind: Span, Print: text}, Y: Axis{Print: text}}
	for i := range 20 {
		c.Lines = append(c.Lines, Line{Name: fmt.Sprint(i), X: []float64{0, 1}, Y: []float64{float64(i), float64(i)}, Marked: i == 7})
	}
	d := c.Draw()
	var names []string
	for _, e := range d.Legend {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"0", "19", "7"}) || d.More != "17 more are the thin lines" || len(d.Paths) != 20 || d.Paths[0].Class != "thin" {
		t.Errorf("%v, %q, %+v", names, d.More, d.Paths[0])
	}
}

func TestDecades(t *testing.T) {
	for _, c := range []struct{ low, high, from, to float64 }{{89, 388_000, 50, 500_000}, {420, 1100, 200, 2000}, {5, 5, 5, 10}, {0.5, 0.5, 0.5, 1}} {
		from, to, ticks := decades(limits{c.low, c.high})
		if math.Abs(from/c.from-1) > 1e-9 || math.Abs(to/c.to-1) > 1e-9 || len(ticks) < 2 {
			t.Errorf("%v to %v: from %v to %v, %v", c.low, c.high, from, to, ticks)
		}
	}
}
