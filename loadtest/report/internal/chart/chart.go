// Package chart draws lines over an axis as SVG that needs no script: what it computes, a template writes.
package chart

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A chart is drawn in these units, whatever its size on a page.
const (
	Width   = 560.0
	Height  = 250.0
	left    = 84.0
	right   = 14.0
	top     = 22.0
	bottom  = 44.0
	colours = 8
	// mostPoints is how many points a line has at most, and crowdedPoints when there are many lines.
	mostPoints, crowdedPoints = 560, 120
	// mostNamed is how many lines have a colour of their own. If there are more, all are thin but the lowest and the highest.
	mostNamed = 8
)

// Kind is how values are placed along an axis.
type Kind int

// The kinds.
const (
	Linear Kind = iota // from zero
	Span               // linear, from the first value to the last
	Log
	Nines // log10(1/(1-q)): 90 %, 99 %, 99.9 % … in equal steps; values are these logarithms
)

// Axis is one side of a chart.
type Axis struct {
	Label string // with the unit
	Kind  Kind
	Print func(float64) string
}

// Line is one line. Values that are not numbers are gaps.
type Line struct {
	Name   string
	X, Y   []float64
	Marked bool // it is named even where there are many
}

// Mark is a moment that has an explanation elsewhere, by its number.
type Mark struct {
	At     float64
	Number int
	Text   string
}

// Band is a stretch of the horizontal axis.
type Band struct {
	From, To float64
	Text     string
}

// Chart is what is to be drawn.
type Chart struct {
	Title, Note string
	X, Y        Axis
	Lines       []Line
	Marks       []Mark
	Bands       []Band
	Dots        bool // the shapes alone, at every point
	Medians     bool // the legend has that of each line
}

// Tick is a place on an axis.
type Tick struct {
	At   string
	Text string
	Last bool // there is no room to the right
}

// Path is a line as it is drawn.
type Path struct {
	Class, D, Title string
	Shape           string // at some of its points, so that colour is not the only sign
}

// Entry is a line of the legend.
type Entry struct{ Class, Shape, Name, Value string }

// Flag is a mark as it is drawn.
type Flag struct {
	At, Number, Text string
	// Label is where its number is written; empty if that is written elsewhere. Behind it is a plate.
	Label, Y, Left, Wide string
}

// Stripe is a band as it is drawn.
type Stripe struct {
	X, Width, Text, Middle string
	Odd, Named             bool
}

// Drawing is a chart as a template writes it.
type Drawing struct {
	Title, Note, XLabel, YLabel string
	Summary                     string // for those who do not see it
	XTicks, YTicks              []Tick
	Paths                       []Path
	Legend                      []Entry
	Flags                       []Flag
	Stripes                     []Stripe
	More                        string // what the legend does not name
}

// Draw computes the drawing; it is nil if there are not two points to draw a line between.
func (c *Chart) Draw() *Drawing {
	x, y := extent(), extent()
	points := 0 // of the longest line
	for _, l := range c.Lines {
		n := 0
		for i := range min(len(l.X), len(l.Y)) {
			if c.Y.visible(l.Y[i]) && finite(l.X[i]) {
				x.take(l.X[i])
				y.take(l.Y[i])
				n++
			}
		}
		if c.Dots {
			n += points
		}
		points = max(points, n)
	}
	if points < 2 || x.high <= x.low {
		return nil
	}
	horizontal, vertical := c.X.scale(x, left, Width-right, 7), c.Y.scale(y, Height-bottom, top, 5)
	d := &Drawing{Title: c.Title, Note: c.Note, XLabel: c.X.Label, YLabel: c.Y.Label}
	for _, v := range horizontal.ticks {
		at := horizontal.at(v)
		d.XTicks = append(d.XTicks, Tick{place(at), c.X.Print(v), at > Width-right-20})
	}
	for _, v := range vertical.ticks {
		d.YTicks = append(d.YTicks, Tick{At: place(vertical.at(v)), Text: c.Y.Print(v)})
	}
	c.stripes(d, horizontal, x)
	c.lines(d, horizontal, vertical)
	d.Flags = flags(c.Marks, x, horizontal)
	d.Summary = fmt.Sprintf("%s: %s from %s to %s, over %s from %s to %s", c.Title, c.Y.Label, c.Y.Print(y.low), c.Y.Print(y.high),
		c.X.Label, c.X.Print(x.low), c.X.Print(x.high))
	return d
}

// flags are the marks within x. The numbers of those that are close to each other are written as one.
func flags(marks []Mark, x limits, horizontal *scale) (all []Flag) {
	const near = 20.0
	first, begun := -1, 0.0
	for _, m := range marks {
		if m.At < x.low || m.At > x.high {
			continue
		}
		at := horizontal.at(m.At)
		if first >= 0 && at-begun < near {
			f := &all[first]
			from, _, _ := strings.Cut(f.Number, "–")
			f.Number = fmt.Sprintf("%s–%d", from, m.Number)
			f.Text += fmt.Sprintf("; %d: %s", m.Number, m.Text)
			f.Left, f.Wide = place(begun-14), "28"
			all = append(all, Flag{At: place(at)})
			continue
		}
		first, begun = len(all), at
		all = append(all, Flag{
			At: place(at), Number: fmt.Sprint(m.Number), Text: fmt.Sprintf("%d: %s", m.Number, m.Text), Label: place(at), Left: place(at - 8), Wide: "16", Y: place(top + 8),
		})
	}
	return all
}

func (c *Chart) stripes(d *Drawing, horizontal *scale, x limits) {
	for i, b := range c.Bands {
		from, to := max(b.From, x.low), min(b.To, x.high)
		if from >= to {
			continue
		}
		a, z := horizontal.at(from), horizontal.at(to)
		d.Stripes = append(d.Stripes, Stripe{
			X: place(a), Width: place(z - a), Text: b.Text, Middle: place((a + z) / 2),
			Odd: i%2 == 1, Named: float64(len([]rune(b.Text)))*8 < z-a,
		})
	}
}

// lines draws them, thin ones first.
func (c *Chart) lines(d *Drawing, horizontal, vertical *scale) {
	crowded := len(c.Lines) > mostNamed
	named := c.named()
	most := mostPoints
	if crowded {
		most = crowdedPoints
	}
	var thin, strong []Path
	for i := range c.Lines {
		l := &c.Lines[i]
		k := slices.Index(named, i)
		p := Path{Class: "thin", Title: l.Name}
		if k >= 0 {
			p.Class = fmt.Sprintf("s%d", k%colours)
		}
		xs, ys := thinned(l.X, l.Y, most, c.Y.visible)
		var shapes strings.Builder
		spots := places(xs, ys, horizontal, k)
		if c.Dots {
			spots = everywhere(xs)
		} else {
			p.D = path(xs, ys, horizontal, vertical)
		}
		if k >= 0 {
			for _, at := range spots {
				shapes.WriteString(shape(k, horizontal.at(xs[at]), vertical.at(ys[at])))
			}
			p.Shape = shapes.String()
			strong = append(strong, p)
			value := ""
			if v, ok := median(l.Y); ok && c.Medians {
				value = c.Y.Print(v)
			}
			d.Legend = append(d.Legend, Entry{p.Class, shape(k, 12, 7), l.Name, value})
			continue
		}
		thin = append(thin, p)
	}
	d.Paths = slices.Concat(thin, strong)
	if crowded {
		d.More = fmt.Sprintf("%d more are the thin lines", len(thin))
	}
	if len(c.Lines) == 1 && c.Lines[0].Name == "" {
		d.Legend = nil
	}
}

// named are the lines that have a colour of their own.
func (c *Chart) named() (which []int) {
	if len(c.Lines) <= mostNamed {
		for i := range c.Lines {
			which = append(which, i)
		}
		return which
	}
	lowest, highest := -1, -1
	means := make([]float64, len(c.Lines))
	for i, l := range c.Lines {
		n, sum := 0, 0.0
		for _, v := range l.Y {
			if c.Y.visible(v) {
				n, sum = n+1, sum+v
			}
		}
		if n == 0 {
			continue
		}
		means[i] = sum / float64(n)
		if l.Marked && len(which) < mostNamed-2 {
			which = append(which, i)
		}
		if lowest < 0 || means[i] < means[lowest] {
			lowest = i
		}
		if highest < 0 || means[i] > means[highest] {
			highest = i
		}
	}
	for _, i := range []int{lowest, highest} {
		if i >= 0 && !slices.Contains(which, i) {
			which = append(which, i)
		}
	}
	return which
}

func median(v []float64) (float64, bool) {
	sorted := slices.DeleteFunc(slices.Clone(v), func(x float64) bool { return !finite(x) })
	if len(sorted) == 0 {
		return 0, false
	}
	slices.Sort(sorted)
	return sorted[len(sorted)/2], true
}

// thinned keeps the lowest and the highest of each stretch, in their order: no peak is lost.
func thinned(x, y []float64, most int, visible func(float64) bool) (xs, ys []float64) {
	n := min(len(x), len(y))
	each := max((n*2+most-1)/most, 1)
	if n <= most {
		each = 1
	}
	for from := 0; from < n; from += each {
		to := min(from+each, n)
		low, high := -1, -1
		for i := from; i < to; i++ {
			if !visible(y[i]) || !finite(x[i]) {
				continue
			}
			if low < 0 || y[i] < y[low] {
				low = i
			}
			if high < 0 || y[i] > y[high] {
				high = i
			}
		}
		if low < 0 { // a gap
			xs, ys = append(xs, x[from]), append(ys, math.NaN())
			continue
		}
		first, second := min(low, high), max(low, high)
		xs, ys = append(xs, x[first]), append(ys, y[first])
		if second != first {
			xs, ys = append(xs, x[second]), append(ys, y[second])
		}
	}
	return xs, ys
}

func path(xs, ys []float64, horizontal, vertical *scale) string {
	var b strings.Builder
	pen := "M"
	for i := range xs {
		if !finite(ys[i]) {
			pen = "M"
			continue
		}
		b.WriteString(pen + place(horizontal.at(xs[i])) + " " + place(vertical.at(ys[i])))
		alone := pen == "M" && (i+1 == len(xs) || !finite(ys[i+1]))
		if alone { // a point without neighbours is a dot
			b.WriteString("h.1")
		}
		pen = "L"
	}
	return b.String()
}

// places are the points of a line that have its shape: four or so, not where those of other lines are.
func places(xs, ys []float64, horizontal *scale, k int) (at []int) {
	next := left + 12 + float64(k%colours)*14
	for i := range xs {
		if finite(ys[i]) && horizontal.at(xs[i]) >= next {
			at = append(at, i)
			next = horizontal.at(xs[i]) + 120
		}
	}
	return at
}

func everywhere(xs []float64) (at []int) {
	for i := range xs {
		at = append(at, i)
	}
	return at
}

// shape is that of a line: circle, square, triangle, diamond, and so on.
func shape(k int, x, y float64) string {
	at := func(format string) string { return fmt.Sprintf("M%.1f %.1f", x, y) + format }
	switch k % colours {
	case 0:
		return at("m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z")
	case 1:
		return at("m-3.2-3.2h6.4v6.4h-6.4z")
	case 2:
		return at("m0-4.2l4.2 7.4h-8.4z")
	case 3:
		return at("m0-4.6l4.6 4.6l-4.6 4.6l-4.6-4.6z")
	case 4:
		return at("m0 4.2l4.2-7.4h-8.4z")
	case 5:
		return at("m-1.2-4.4h2.4v3.2h3.2v2.4h-3.2v3.2h-2.4v-3.2h-3.2v-2.4h3.2z")
	case 6:
		return at("m-5-1.6h10v3.2h-10z")
	}
	return at("m-1.6-5h3.2v10h-3.2z")
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// place is a coordinate, to a tenth.
func place(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}
