package report

import (
	"fmt"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report/internal/chart"
)

// search is the part of a page about the highest rate that holds.
type search struct {
	Sentence string
	Chart    *chart.Drawing
	Trials   *Table
}

func newSearch(s *loadtest.Search) *search {
	if s == nil {
		return nil
	}
	p := &search{Sentence: SearchText(s)}
	c := chart.Chart{
		Title: "Trials", Note: "p99 at each rate", X: chart.Axis{Label: "requests a second, asked for", Kind: chart.Linear, Print: digits},
		Y: chart.Axis{Label: "p99 latency", Kind: chart.Log, Print: duration}, Dots: true,
	}
	held, not := chart.Line{Name: "held"}, chart.Line{Name: "did not hold"}
	p.Trials = NewTable("", "Trials", "Trial|>Asked for|>Length|>Answers|Held|>p50|>p99|>Errors|Why")
	for i, t := range s.Trials {
		l, word := &not, "✗ no"
		if t.Held {
			l, word = &held, "✓ yes"
		}
		l.X, l.Y = append(l.X, t.RatePerSecond), append(l.Y, float64(t.Latency.P99))
		p.Trials.Row(count(i+1)+" "+t.Purpose, Print(t.RatePerSecond, PerSecond), Print(t.LengthS, Seconds), Print(t.GotPerSecond, PerSecond), word,
			duration(float64(t.Latency.P50)), duration(float64(t.Latency.P99)), Print(t.ErrorsPercent, Percent), t.Why)
	}
	c.Lines = []chart.Line{held, not}
	p.Chart = c.Draw()
	p.Trials = p.Trials.orNil()
	return p
}

// SearchText is what a search found, in a sentence or two.
func SearchText(s *loadtest.Search) string {
	var text string
	switch {
	case s.RatePerSecond == 0:
		text = fmt.Sprintf("No rate held %s.", s.Limit)
	case s.FailedPerSecond == 0:
		text = fmt.Sprintf("%s held %s; no higher rate failed.", Print(s.RatePerSecond, PerSecond), s.Limit)
	default:
		text = fmt.Sprintf("%s held %s, %s did not; the limit is between them with a confidence of %s.",
			Print(s.RatePerSecond, PerSecond), s.Limit, Print(s.FailedPerSecond, PerSecond), Print(s.ConfidencePercent, Percent))
	}
	if s.EstimatePerSecond > 0 && s.FailedPerSecond > 0 {
		text += fmt.Sprintf(" The likeliest is %s.", Print(s.EstimatePerSecond, PerSecond))
	}
	if s.Inconclusive {
		text += " This is not the answer: the search was not brought to its end."
	}
	if s.Reason != "" {
		text += fmt.Sprintf(" It ended because %s.", s.Reason)
	}
	return text
}

// rates is the part of a page about the rates that were to be tried.
type rates struct {
	Charts []*chart.Drawing
	Steps  *Table
}

func newRates(steps []loadtest.RateStep) *rates {
	if len(steps) == 0 {
		return nil
	}
	p := &rates{Steps: rateTable(steps)}
	asked := chart.Axis{Label: "requests a second, asked for", Kind: chart.Linear, Print: digits}
	got := chart.Chart{Title: "Answers", Note: "at each rate", X: asked, Y: chart.Axis{Label: "answers a second", Print: digits}, Dots: true}
	slow := chart.Chart{Title: "Latency", Note: "at each rate", X: asked, Y: chart.Axis{Label: "latency", Kind: chart.Log, Print: duration}, Dots: true}
	answers, p50, p99 := chart.Line{}, chart.Line{Name: "p50"}, chart.Line{Name: "p99"}
	for _, s := range steps {
		answers.X, answers.Y = append(answers.X, s.RatePerSecond), append(answers.Y, s.GotPerSecond)
		if s.Latency.Count > 0 {
			p50.X, p50.Y = append(p50.X, s.RatePerSecond), append(p50.Y, float64(s.Latency.P50))
			p99.X, p99.Y = append(p99.X, s.RatePerSecond), append(p99.Y, float64(s.Latency.P99))
		}
	}
	got.Lines, slow.Lines = []chart.Line{answers}, []chart.Line{p50, p99}
	for _, c := range []*chart.Chart{&got, &slow} {
		if d := c.Draw(); d != nil {
			p.Charts = append(p.Charts, d)
		}
	}
	return p
}

func rateTable(steps []loadtest.RateStep) *Table {
	t := NewTable("", "Rates", ">Asked for|>Answers|>Errors|>p50|>p99|>Max|Why it says little")
	for _, s := range steps {
		cells := []string{"–", "–", "–"}
		if s.Latency.Count > 0 {
			cells = []string{duration(float64(s.Latency.P50)), duration(float64(s.Latency.P99)), duration(float64(s.Latency.Max))}
		}
		t.Row(append(append([]string{Print(s.RatePerSecond, PerSecond), Print(s.GotPerSecond, PerSecond), Print(s.ErrorsPercent, Percent)}, cells...), s.Why)...)
	}
	return t
}
