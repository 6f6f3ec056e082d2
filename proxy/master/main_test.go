package master

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// The test binary also plays the workers of masters, and other processes that tests start.
func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{"lb", "worker"}) {
		if err := playWorker(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	proxytest.Main(m)
}
