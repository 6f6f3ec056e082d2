package proxy

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// The test binary also plays the roles of processes the tests start.
func TestMain(m *testing.M) {
	if role := os.Getenv(benchWorkerRole); role != "" {
		if err := benchWorker(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if slices.Equal(os.Args[1:], []string{"lb", "worker"}) {
		if err := playWorker(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
