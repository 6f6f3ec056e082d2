package cmd

import (
	"bytes"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest"
)

func TestVerdictCodes(t *testing.T) {
	for v, want := range map[loadtest.Verdict]int{
		loadtest.Pass: 0, loadtest.Fail: 1, loadtest.Interrupted: 130, loadtest.Inconclusive: 4,
	} {
		if got := verdictCode(v); got != want {
			t.Errorf("%s: %d, want %d", v, got, want)
		}
	}
}

func TestParseSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"60": time.Minute, "0.5": 500 * time.Millisecond, "2m": 2 * time.Minute,
		"0": 0, "-1": 0, "": 0, "x": 0, "NaN": 0, "1e300": 0,
	} {
		got, err := parseSeconds(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestPreflightObstaclesAreAllSaid(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: term.New(&out)}
	err := a.explainPreflight(&loadtest.PreflightError{Requirements: judge.List{
		{Name: "target"},
		{Name: "memory", Verdict: judge.Fail, Got: "1 MiB", Want: "2 MiB", Fix: "buy some"},
		{Name: "rate_limits", Verdict: judge.Warn},
		{Name: "ports", Verdict: judge.Fail, Got: "5", Want: "6", Fix: "widen"},
	}})
	if got, want := out.String(), "erlmcp: memory: 1 MiB, needed: 2 MiB\nhint: buy some\n"; got != want {
		t.Errorf("got %q", got)
	}
	if err.Error() != "ports: 5, needed: 6" || exit.Hint(err) != "widen" || exit.Code(err) != exit.Machine {
		t.Errorf("%v, hint %q, code %d", err, exit.Hint(err), exit.Code(err))
	}
}
