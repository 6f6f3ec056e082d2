package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/agent"
)

// The test binary plays three parts: the tests; an agent, because a coordinator executes its own
// binary; and a coordinator that tests can kill.
func TestMain(m *testing.M) {
	if text := os.Getenv(coordinatorVariable); text != "" {
		os.Exit(playCoordinator(text))
	}
	if slices.Equal(os.Args[1:], []string{"loadtest", "agent"}) {
		if err := agent.Run(context.Background(), agent.Options{Log: log.New(os.Stderr)}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

const coordinatorVariable = "LOADTEST_TEST_COORDINATOR"

// playCoordinator runs a spec and says on the standard output when it holds its connections.
func playCoordinator(text string) int {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Unsetenv(coordinatorVariable)
	_, err := Run(context.Background(), s, Options{Progress: func(p Progress) {
		if p.Phase == PhaseHold && p.Done > 0 {
			fmt.Println("holding")
		}
	}})
	fmt.Fprintln(os.Stderr, "ended", err)
	return 0
}

const testPatience = time.Minute

// await waits for something that other processes do.
func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	waittest.Until(t, testPatience, what, happened)
}

// testSpec is a run against the fake.
func testSpec(f *fake, connections int, hold time.Duration) Spec {
	s := Default()
	s.Target, s.Connections, s.Duration = f.address(), connections, hold
	s.StickySample = 100
	s.Agents = 2
	return s
}
