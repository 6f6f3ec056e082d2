package show

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

func TestLoadtestText(t *testing.T) {
	kernel := 51
	r := &loadtest.Report{
		Verdict: loadtest.Fail, Reason: "hold: lost load agent2",
		Preflight: loadtest.Requirements{{Name: "rate_limits", Verdict: judge.Warn, Got: "80/s", Want: "100/s", Fix: "more addresses"}},
		Checks: loadtest.Checks{
			{Name: "connections", Want: "100", Got: "100"},
			{Name: "dropped", Verdict: judge.Fail, Want: "0", Got: "3"},
			{Name: "latency_variance", Verdict: judge.Unjudged, Want: "≤ 5 %", Got: "-", Why: "there is one node only"},
		},
		Nodes: []loadtest.NodeResult{
			{Name: "a", Connections: 50, KernelConnections: &kernel, Latency: loadtest.Quantiles{Count: 9, Mean: 120.4, P50: 110, P99: 12_345, Max: 99_999}},
			{Name: "b", Connections: 50}, {Connections: 100},
		},
		Advice:    []string{"erlmcp health"},
		Resources: &series.Resources{Agents: series.ProcessUse{Processes: 2, RSSBytes: 20 << 20, CPUPercent: 12.5, Descriptors: 130}},
	}
	var out bytes.Buffer
	if err := Loadtest(term.New(&out), r); err != nil {
		t.Fatal(err)
	}
	want := `note rate_limits: 80/s, better: 100/s (more addresses)
NODE   CONNECTIONS  KERNEL  ANSWERS   MEAN    P50     P99    MAX
a               50      51        9  120µs  110µs  12.3ms  100ms
b               50       -        0      -      -       -      -
(all)          100       -        0      -      -       -      -

PART     PROCESSES  MEMORY     CPU  DESCRIPTORS
agents           2  20 MiB  12.5 %          130
machine              0 MiB

CHECK             WANT   GOT
connections       100    100  ok
dropped           0      3    FAIL
latency_variance  ≤ 5 %  -    there is one node only

fail: hold: lost load agent2
hint: erlmcp health
`
	if out.String() != want {
		t.Errorf("got:\n%s", out.String())
	}
}

func TestLoadtestProgressOfALog(t *testing.T) {
	var out bytes.Buffer
	show := Progress(term.New(&bytes.Buffer{}), log.New(&out))
	show(loadtest.Progress{Phase: loadtest.PhaseRamp, Done: 5, Total: 10, Unit: "connections"})
	show(loadtest.Progress{Phase: loadtest.PhaseRamp, Done: 10, Total: 10, Unit: "connections", Ended: true, Took: time.Second})
	show(loadtest.Progress{Phase: loadtest.PhaseRecovery, Ended: true, Took: time.Second})
	show(loadtest.Progress{Phase: loadtest.PhaseClose, Ended: true, Took: time.Second, Err: errors.New("oh")})
	want := "INFO ramp took=1s connections=10\nINFO recovery took=1s\nWARN close ended early took=1s err=oh\n"
	if got := strings.ReplaceAll(out.String(), "  ", " "); got != want {
		t.Errorf("got %q", got)
	}
}
