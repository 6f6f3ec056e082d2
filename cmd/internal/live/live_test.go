package live

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/term"
)

var updateViews = flag.Bool("update-views", false, "write the golden views of the live view")

func unpainted(_ term.Style, text string) string { return text }

// threeRounds are three rounds of three nodes: all well, then the third is down and the second drains,
// then the third is back.
func threeRounds() []healthcheck.Report {
	number := func(n int) *int { return &n }
	rate := func(r float64) *float64 { return &r }
	node := func(name string, connections int, latency time.Duration) healthcheck.NodeHealth {
		return healthcheck.NodeHealth{
			Name: name, Status: healthcheck.NodeUp, Balancer: "up", Weight: 1,
			Connections: number(connections), ConnectRate: rate(float64(connections) / 300),
			Checks: []healthcheck.Result{{Kind: "mcp", OK: true, Latency: latency}},
		}
	}
	var rounds []healthcheck.Report
	for i := range 3 {
		r := healthcheck.Report{
			Status: healthcheck.StatusHealthy, Time: time.Date(2026, 3, 1, 12, 0, i, 0, time.UTC),
			LoadBalancer: healthcheck.LoadBalancer{
				Running: true, Engine: "builtin", PID: 77, State: "running", Clients: number(75_012), Rate: rate(250.4),
				Checks: []healthcheck.Result{{Kind: "mcp", OK: true, Latency: 1234 * time.Microsecond}},
			},
			Nodes: []healthcheck.NodeHealth{
				node("erlmcp1", 25_012, time.Duration(i+1)*400*time.Microsecond),
				node("erlmcp2", 25_000, 81*time.Microsecond),
				node("a-node-with-a-long-name", 25_000, 2*time.Millisecond),
			},
			Connections: healthcheck.Connections{Total: number(75_012), Capacity: 100_000, MaxDeviation: number(8)},
		}
		if i == 1 {
			r.Status = healthcheck.StatusDegraded
			r.Reasons = []string{"erlmcp2 is draining", "a-node-with-a-long-name is down (mcp: connection refused)"}
			r.Nodes[1].Balancer = "draining"
			n := &r.Nodes[2]
			n.Status, n.Balancer, n.Connections, n.ConnectRate = healthcheck.NodeDown, "down", number(0), rate(0)
			n.Checks = []healthcheck.Result{{Kind: "mcp", Cause: healthcheck.CauseRefused, Error: "connection refused"}}
		}
		rounds = append(rounds, r)
	}
	return rounds
}

// seen is a model after these messages.
func seen(messages ...tea.Msg) model {
	var m tea.Model = newModel(unpainted, time.Second)
	for _, msg := range messages {
		m, _ = m.Update(msg)
	}
	return m.(model)
}

func roundMessages(n int) []tea.Msg {
	var h healthcheck.History
	var messages []tea.Msg
	for _, r := range threeRounds()[:n] {
		changes := h.Add(&r)
		messages = append(messages, round{r, changes, h.Rounds, h.Begun})
	}
	return messages
}

// TestLiveViews compares whole views with those in testdata; -update-views writes them.
func TestLiveViews(t *testing.T) {
	for _, c := range []struct{ rounds, width, height int }{
		{0, 80, 8}, {1, 80, 24}, {2, 120, 24}, {2, 60, 24}, {2, 38, 16}, {3, 100, 18}, {3, 160, 12}, {2, 80, 6}, {3, 20, 2},
	} {
		name := fmt.Sprintf("%d_rounds_%dx%d.txt", c.rounds, c.width, c.height)
		m := seen(append(roundMessages(c.rounds), tea.WindowSizeMsg{Width: c.width, Height: c.height})...)
		got := m.text() + "\n"
		path := filepath.Join("testdata", name)
		if *updateViews {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is\n%swant\n%s", name, got, want)
		}
		if lines := strings.Split(m.text(), "\n"); len(lines) != c.height {
			t.Errorf("%s: %d lines", name, len(lines))
		}
	}
}

// TestLiveViewFits tries windows of all sizes.
func TestLiveViewFits(t *testing.T) {
	m := seen(roundMessages(3)...)
	for width := 1; width < 180; width += 3 {
		for height := 1; height < 30; height++ {
			next, _ := m.Update(tea.WindowSizeMsg{Width: width, Height: height})
			resized := next.(model)
			lines := strings.Split(resized.text(), "\n")
			if len(lines) != height {
				t.Fatalf("%dx%d: %d lines", width, height, len(lines))
			}
			for _, line := range lines {
				if term.Width(line) > width {
					t.Fatalf("%dx%d: line of %d columns: %q", width, height, term.Width(line), line)
				}
			}
		}
	}
}

func TestLiveViewRemembersWithinBounds(t *testing.T) {
	m := seen()
	r := roundMessages(2)[1].(round)
	for range 3 * keptLatencies {
		next, _ := m.Update(r)
		m = next.(model)
	}
	if len(m.events) != keptEvents || len(m.latencies["erlmcp1"]) != keptLatencies {
		t.Errorf("%d events, %d latencies", len(m.events), len(m.latencies["erlmcp1"]))
	}
}

func TestLiveViewQuits(t *testing.T) {
	for _, c := range []struct {
		key  tea.Key
		quit bool
	}{
		{tea.Key{Code: 'q', Text: "q"}, true},
		{tea.Key{Code: 'c', Mod: tea.ModCtrl}, true},
		{tea.Key{Code: tea.KeyEscape}, true},
		{tea.Key{Code: 'c', Text: "c"}, false},
		{tea.Key{Code: tea.KeyEnter}, false},
	} {
		_, command := newModel(unpainted, time.Second).Update(tea.KeyPressMsg(c.key))
		if quit := command != nil; quit != c.quit {
			t.Errorf("%s: quits %t", tea.KeyPressMsg(c.key), quit)
		}
	}
}

// The alternate screen keeps what was on the terminal.
func TestLiveViewLeavesTheScreen(t *testing.T) {
	if v := seen().View(); !v.AltScreen {
		t.Error("on the main screen")
	}
}

func TestHealthSummary(t *testing.T) {
	var h healthcheck.History
	var last healthcheck.Report
	for _, last = range threeRounds() {
		h.Add(&last)
	}
	const want = `3 rounds in 2s, at the end healthy
NODE                     STATUS  SINCE     AVAILABLE  FLAPS    MIN    AVG     MAX
erlmcp1                  up      12:00:00       100%      0  400µs  800µs  1.2ms
erlmcp2                  up      12:00:00       100%      0   81µs   81µs   81µs
a-node-with-a-long-name  up      12:00:02     66.67%      2    2ms    2ms    2ms
`
	got := Summary(term.New(errorWriter{}), last, &h)
	if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// errorWriter is a stream nobody should write to.
type errorWriter struct{}

func (errorWriter) Write([]byte) (int, error) { return 0, errors.New("written to") }
