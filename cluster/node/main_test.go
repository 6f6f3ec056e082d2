package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/charmbracelet/log"
	"go.uber.org/goleak"
)

// TestMain lets the test binary stand in for the roles of erlmcp.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "node" {
		os.Exit(runRole(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

func runRole(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	logger := log.New(os.Stderr)
	var err error
	switch args[0] {
	case "worker":
		err = Worker(ctx, logger)
	case "serve":
		var spec Spec
		if err = json.Unmarshal([]byte(args[1]), &spec); err == nil {
			err = Serve(ctx, spec, Options{Log: logger})
		}
	default:
		err = fmt.Errorf("unknown role %q", args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "erlmcp:", err)
		return 1
	}
	return 0
}
