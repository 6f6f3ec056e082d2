package report_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report"
	"github.com/erlmcp/erlmcp/loadtest/report/reporttest"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

func page(t *testing.T, r *loadtest.Report) []byte {
	t.Helper()
	var text bytes.Buffer
	if err := report.HTML(&text, r); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// full is a report that has everything.
func full(nodes, seconds int) *loadtest.Report {
	r := reporttest.Run{Seed: 7, Nodes: nodes, Hold: seconds, Connections: 10_000}.Simulate()
	r.Search, r.Rates = reporttest.Search(), reporttest.Rates()
	r.Advice = []string{"give the clients more addresses (--source-ips)"}
	return r
}

// The page in a browser: nothing is fetched, nothing is wrong, and it fits, whatever its width, colours, nodes and points.
func TestPageInBrowser(t *testing.T) {
	for _, c := range []struct{ nodes, seconds int }{{1, 3}, {4, 60}, {64, 3600}} {
		t.Run(fmt.Sprintf("%d nodes, %d seconds", c.nodes, c.seconds), func(t *testing.T) {
			text := page(t, full(c.nodes, c.seconds))
			t.Logf("%d KiB", len(text)>>10)
			if len(text) > 3<<20 {
				t.Errorf("the page has %d bytes", len(text))
			}
			p := reporttest.Open(t, text)
			for _, width := range []int64{400, 1280, 1600} {
				p.Size(width, 900)
				for _, scheme := range []string{"light", "dark"} {
					p.Prefer(scheme)
					looks(t, p, width, scheme)
					save(t, p, fmt.Sprintf("page-%d-%d-%s", c.nodes, width, scheme))
				}
			}
			if pdf := p.PDF(); !bytes.HasPrefix(pdf, []byte("%PDF")) {
				t.Error("it is not printed")
			} else if dir := os.Getenv("REPORT_PICTURES"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("page-%d.pdf", c.nodes)), pdf, 0o600); err != nil {
					t.Error(err)
				}
			}
			p.Quiet()
		})
	}
}

// looks asserts what must be so at any width.
func looks(t *testing.T, p *reporttest.Page, width int64, scheme string) {
	t.Helper()
	if wide := reporttest.Eval[int](p, "document.documentElement.scrollWidth"); wide > int(width) {
		t.Errorf("at %d px the page is %d px wide", width, wide)
	}
	dark := reporttest.Eval[bool](p, `getComputedStyle(document.body).backgroundColor === "rgb(16, 19, 22)"`)
	if dark != (scheme == "dark") {
		t.Errorf("the scheme is %s, the page is dark: %t", scheme, dark)
	}
	if n := reporttest.Eval[int](p, `document.querySelectorAll("figure.chart > svg").length`); n < 6 {
		t.Errorf("%d charts", n)
	}
	unlabelled := reporttest.Eval[int](p, `[...document.querySelectorAll("figure.chart > svg[role=img]")].filter((s) => !s.getAttribute("aria-label") ||
		!s.querySelector(".label-x")?.textContent || s.querySelectorAll(".tick-x").length < 2 ||
		s.querySelector(".label-y") && s.querySelectorAll(".tick-y").length < 2).length`)
	if unlabelled != 0 {
		t.Errorf("at %d px %d charts lack a label", width, unlabelled)
	}
	small := reporttest.Eval[string](p, `[...document.querySelectorAll("figure.chart > svg")].flatMap((s) => [...s.querySelectorAll(".tick-x, .tick-y, .label-x")]
		.filter((e) => parseFloat(getComputedStyle(e).fontSize) * s.getBoundingClientRect().width / 560 < 9).map((e) => e.textContent)).slice(0, 3).join()`)
	if small != "" {
		t.Errorf("at %d px this is too small to be read: %s", width, small)
	}
	overlapping := reporttest.Eval[string](p, `[...document.querySelectorAll("figure.chart > svg")].flatMap((s) => [".tick-x", ".tick-y"].flatMap((kind) => {
		const at = [...s.querySelectorAll(kind)].map((e) => ({text: e.textContent, r: e.getBoundingClientRect()}));
		return at.slice(1).filter((e, i) => e.r.left < at[i].r.right && at[i].r.left < e.r.right && e.r.top < at[i].r.bottom - 4 && at[i].r.top < e.r.bottom - 4).map((e) => s.getAttribute("aria-label").slice(0, 20) + " " + e.text);
	})).slice(0, 5).join("; ")`)
	if overlapping != "" {
		t.Errorf("at %d px ticks lie on each other: %s", width, overlapping)
	}
}

// save keeps a picture where the environment asks for it, for people to look at.
func save(t *testing.T, p *reporttest.Page, name string) {
	t.Helper()
	dir := os.Getenv("REPORT_PICTURES")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), p.Image(true), 0o600); err != nil {
		t.Error(err)
	}
}

const hostile = `</title></style><script>alert(1)</script>"'><img src=x onerror=alert(2)>{{.}}`

// What comes from elsewhere stays text, wherever it stands.
func TestPageEscapes(t *testing.T) {
	r := full(2, 10)
	r.Target, r.Reason, r.Version, r.Driver, r.Nameless = hostile, hostile, hostile, hostile, hostile
	r.Command, r.Advice, r.Notes = []string{hostile}, []string{hostile}, []string{hostile}
	r.Host.CPU, r.Host.Kernel = hostile, hostile
	r.Checks = loadtest.Checks{{Name: hostile, Verdict: judge.Fail, Want: hostile, Got: hostile, Why: hostile}}
	r.Nodes[0].Name, r.Steps[0].Name, r.Parts[0].Name, r.Failover.Node = hostile, hostile, hostile, hostile
	r.Setup[hostile] = r.Setup["connect"]
	r.Requests.Causes[hostile] = 3
	r.Series.Marks[0].Text = hostile
	r.Series.Points[3].Phase = hostile
	r.Series.Points[3].Nodes[hostile] = 7
	r.Series.Points[3].ByCause = map[string]int64{hostile: 4}
	r.Search.Limit, r.Search.Trials[0].Why = hostile, hostile
	text := string(page(t, r))
	if strings.Contains(text, "<script") || strings.Contains(text, "<img") {
		t.Error("the page has elements that are not its own")
	}
	p := reporttest.Open(t, []byte(text))
	if n := reporttest.Eval[int](p, `document.querySelectorAll("script, img, [onerror]").length`); n != 0 {
		t.Errorf("%d elements are not the page's", n)
	}
	if got := reporttest.Eval[string](p, `document.querySelector("table.checks tbody th").textContent`); got != hostile {
		t.Errorf("the name of a check is %q", got)
	}
	p.Quiet()
}

// A report of a run that did not come far is a page too.
func TestPageOfLittle(t *testing.T) {
	for name, r := range map[string]*loadtest.Report{
		"nothing":       {Schema: loadtest.Schema, Verdict: loadtest.Interrupted},
		"an empty node": {Schema: loadtest.SchemaV1, Verdict: loadtest.Fail, Nodes: []loadtest.NodeResult{{}}, Series: &series.Series{}, Search: &loadtest.Search{}, Failover: &loadtest.Failover{}, Resources: &series.Resources{}, Requests: &loadtest.Requests{}, Connections: &loadtest.Connections{}, Sticky: &loadtest.Sticky{}, Latency: &loadtest.LatencyResult{}},
		"one point":     {Schema: loadtest.Schema, Verdict: loadtest.Pass, Series: &series.Series{Points: []series.Point{{AtS: 1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := report.Write(dir, r); err != nil {
				t.Fatal(err)
			}
			text := string(page(t, r))
			for _, bad := range []string{"NaN", "Inf", "<nil>", "%!"} {
				if strings.Contains(text, bad) {
					t.Errorf("the page says %s", bad)
				}
			}
			if !strings.Contains(text, string(r.Verdict)) {
				t.Error("the page has no verdict")
			}
		})
	}
}
