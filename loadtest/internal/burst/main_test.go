package burst_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/loadtest/hey"
)

// The test binary also plays the process that hey runs in, because the driver executes its own binary.
func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{"loadtest", "burst"}) {
		if err := hey.Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}
