package compare_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report/compare"
	"github.com/erlmcp/erlmcp/loadtest/report/reporttest"
)

// side is some runs of the same thing, that differ in their noise.
func side(name string, seed uint64, runs int, as reporttest.Run) compare.Side {
	s := compare.Side{Name: name}
	as.Nodes, as.Connections, as.Answers = 2, 1000, 4000
	for i := range runs {
		as.Seed = seed*1000 + uint64(i)
		s.Runs = append(s.Runs, as.Simulate())
	}
	return s
}

func compared(t *testing.T, base, other compare.Side) *compare.Comparison {
	t.Helper()
	c, err := compare.Compare(base, other, compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Runs of the same thing are marked no more often than is promised, and 5 ms more are found each time: with single runs and
// with repeats, and with runs that differ more from each other than each shows in itself. The noise is autocorrelated and
// has heavy tails.
func TestMarksOnlyWhatDiffers(t *testing.T) {
	for _, c := range []struct {
		base, other, pairs int
		run                reporttest.Run
	}{
		{1, 1, 120, reporttest.Run{Hold: 60}},
		{1, 1, 120, reporttest.Run{Hold: 10}},
		{1, 1, 60, reporttest.Run{Hold: 60, Between: 0.08}},
		{3, 3, 30, reporttest.Run{Hold: 30}},
		{3, 1, 30, reporttest.Run{Hold: 30}},
		{5, 5, 20, reporttest.Run{Hold: 20, Between: 0.1}},
		{9, 9, 10, reporttest.Run{Hold: 20}},
	} {
		t.Run(fmt.Sprintf("%d and %d of %d s, %g", c.base, c.other, c.run.Hold, c.run.Between), func(t *testing.T) {
			t.Parallel()
			marked, found := 0, 0
			slower := c.run
			slower.Added = 5 * time.Millisecond
			for i := range c.pairs {
				base := side("base", uint64(3*i), c.base, c.run)
				if rows := compared(t, base, side("same", uint64(3*i+1), c.other, c.run)).Marked(); len(rows) > 0 {
					marked++
					t.Logf("pair %d of the same thing: %s %s to %s", i, rows[0].Path, rows[0].BaseText(), rows[0].NewText())
				}
				rows := compared(t, base, side("slower", uint64(3*i+2), c.other, slower)).Marked()
				if slices.ContainsFunc(rows, func(r compare.Row) bool { return r.Path == "latency.mean" && r.Mark == compare.Worse }) {
					found++
				}
			}
			n := float64(c.pairs)
			most := n*compare.DefaultAlpha + 3*math.Sqrt(n*compare.DefaultAlpha)
			t.Logf("%d of %d pairs of the same thing are marked, at most %.1f may be", marked, c.pairs, most)
			if float64(marked) > most {
				t.Errorf("%d of %d pairs of the same thing are marked", marked, c.pairs)
			}
			if found != c.pairs {
				t.Errorf("5 ms more are found in %d of %d pairs", found, c.pairs)
			}
		})
	}
}

// Ten pairs of the same thing mark nothing, and ten with 5 ms more are marked each.
func TestTenPairs(t *testing.T) {
	for i := range uint64(10) {
		base := side("base", 7000+3*i, 1, reporttest.Run{Hold: 30})
		if rows := compared(t, base, side("same", 7001+3*i, 1, reporttest.Run{Hold: 30})).Marked(); len(rows) != 0 {
			t.Errorf("pair %d: %+v", i, rows)
		}
		if rows := compared(t, base, side("slower", 7002+3*i, 1, reporttest.Run{Hold: 30, Added: 5 * time.Millisecond})).Marked(); len(rows) == 0 {
			t.Errorf("pair %d: 5 ms more are not found", i)
		}
	}
}

// Without any noise to go by nothing is marked, and that is said.
func TestNoiseNotKnown(t *testing.T) {
	as := reporttest.Run{Hold: 20, NoSeries: true}
	base := side("base", 1, 1, as)
	as.Added = time.Second
	c := compared(t, base, side("slower", 2, 1, as))
	if len(c.Marked()) != 0 || len(c.Rows) == 0 {
		t.Errorf("marked: %+v", c.Marked())
	}
	if !strings.Contains(c.Notes[0], "nothing is marked, for the noise is not known") {
		t.Errorf("notes: %q", c.Notes)
	}
	short := reporttest.Run{Hold: 9}
	if c := compared(t, side("base", 1, 1, short), side("same", 2, 1, short)); len(c.Marked()) != 0 || !strings.Contains(c.Notes[0], "not known") {
		t.Errorf("of 9 seconds: %+v, %q", c.Marked(), c.Notes)
	}
}

func TestWarnings(t *testing.T) {
	base, other := side("base", 1, 1, reporttest.Run{Hold: 20}), side("other", 2, 2, reporttest.Run{Hold: 20})
	if c := compared(t, base, other); len(c.Warnings) != 0 {
		t.Errorf("of the same thing: %q", c.Warnings)
	}
	other.Runs[0].Driver, other.Runs[1].Verdict = "vegeta", loadtest.Inconclusive
	c := compared(t, base, other)
	want := []string{"the runs differ in driver: socket and socket or vegeta", "1 of 2 runs of other ended inconclusive"}
	if !slices.Equal(c.Warnings, want) {
		t.Errorf("%q", c.Warnings)
	}
	for _, s := range []compare.Side{{Name: "none"}, {Name: "many", Runs: make([]*loadtest.Report, 51)}} {
		if _, err := compare.Compare(base, s, compare.Options{}); err == nil || !strings.Contains(err.Error(), s.Name) {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	if _, err := compare.Compare(base, base, compare.Options{Alpha: 0.7}); err == nil {
		t.Error("alpha 0.7")
	}
}

func TestLimits(t *testing.T) {
	c := compared(t, side("base", 1, 1, reporttest.Run{Hold: 30}), side("slower", 2, 1, reporttest.Run{Hold: 30, Added: 5 * time.Millisecond}))
	for text, want := range map[string]bool{
		"latency.mean>+10%": true, "latency.mean > 4ms": true, "latency.mean>10s": false, "latency.mean<-10%": false, "rate<-5%": false,
		"latency.mean>+1000us": true, "memory.balancer>+1GiB": false, "errors>+0.5": false, "latency.p50>+10%": true, "latency.p90>+10%": false, // of which the noise is not known
		"failover.detected>+1s": false,
	} {
		l, err := compare.ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		got, why, err := c.Exceeds(l)
		if err != nil || got != want || got && why == "" {
			t.Errorf("%s: %t, %s, %v", text, got, why, err)
		}
		if text == "latency.p90>+10%" && !strings.HasSuffix(why, "but the noise is not known; repeat the runs") {
			t.Errorf("%s: %s", text, why)
		}
	}
	for _, text := range []string{"", "latency.p99", "latency.p99>", ">10%", "latency.p99>-10%", "rate<5%", "latency.p99=5ms", "latency.p99>+1e9%", "a>1parsec"} {
		if l, err := compare.ParseLimit(text); err == nil {
			t.Errorf("%q is %+v", text, l)
		}
	}
	for text, want := range map[string]string{
		"latency.p9>+10%": "latency.p9>+10%: latency.p9 is no figure of both sides; did you mean latency.p99?",
		"rate>+1ms":       "rate>+1ms: rate is not told in ms",
	} {
		l, err := compare.ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = c.Exceeds(l); err == nil || err.Error() != want && !strings.HasPrefix(want, err.Error()[:20]) {
			t.Errorf("%s: %v", text, err)
		}
	}
	l, _ := compare.ParseLimit("nonsense>+1%")
	if _, _, err := c.Exceeds(l); !errors.Is(err, compare.ErrNoFigure) || !strings.Contains(err.Error(), "there are: ") {
		t.Errorf("%v", err)
	}
}

func FuzzParseLimit(f *testing.F) {
	for _, seed := range []string{"latency.p99>+10%", "rate<-5%", "memory.balancer > +20MiB", "x>", "µs>1µs", "\v<0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := compare.ParseLimit(text)
		if err != nil {
			return
		}
		if again, err := compare.ParseLimit(l.Text); err != nil || again != l {
			t.Errorf("%q: %+v, and again %+v, %v", text, l, again, err)
		}
	})
}

func TestOutputs(t *testing.T) {
	base := side("8 reports of reports/before", 1, 8, reporttest.Run{Hold: 30})
	c := compared(t, base, side("8 reports of reports/after", 2, 8, reporttest.Run{Hold: 30, Added: 5 * time.Millisecond}))
	if r := c.Marked()[0]; r.Noise != compare.ByRanks {
		t.Errorf("8 repeats are judged by the %s", r.Noise)
	}
	var data, md, html bytes.Buffer
	if err := errors.Join(c.JSON(&data), c.Markdown(&md), c.HTML(&html)); err != nil {
		t.Fatal(err)
	}
	var read compare.Comparison
	if err := json.Unmarshal(data.Bytes(), &read); err != nil || read.Schema != compare.Schema || len(read.Marked()) != len(c.Marked()) {
		t.Errorf("read %+v, %v", read, err)
	}
	if !strings.Contains(md.String(), "| latency.mean |") || !strings.Contains(md.String(), "▼ worse") {
		t.Errorf("%s", md.String())
	}
	hostile := *c
	hostile.Base, hostile.Warnings = "<img src=x>", []string{"<img src=x>"}
	var escaped bytes.Buffer
	if err := errors.Join(hostile.Markdown(&escaped), hostile.HTML(&escaped)); err != nil || strings.Contains(escaped.String(), "<img") {
		t.Errorf("a name is not escaped, or %v", err)
	}
	p := reporttest.Open(t, html.Bytes())
	if n := reporttest.Eval[int](p, `document.querySelectorAll("tr.worse").length`); n == 0 {
		t.Error("no row is worse")
	}
	for _, width := range []int64{400, 1280} {
		p.Size(width, 900)
		if wide := reporttest.Eval[int](p, "document.documentElement.scrollWidth"); wide > int(width) {
			t.Errorf("at %d px the page is %d px wide", width, wide)
		}
		if dir := os.Getenv("REPORT_PICTURES"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("compare-%d.png", width)), p.Image(true), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	p.Quiet()
}
