package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/charmbracelet/log"
	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
)

// TestMain lets the test binary stand in for the roles of erlmcp.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "node" {
		os.Exit(runRole(os.Args[2:]))
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

// filesVariable is the limit of open files that a node is to have.
const filesVariable = "ERLMCP_TEST_FILES"

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
		if files, parsed := strconv.ParseUint(os.Getenv(filesVariable), 10, 64); parsed == nil {
			err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files})
		}
		if err == nil {
			err = json.Unmarshal([]byte(args[1]), &spec)
		}
		if err == nil {
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
