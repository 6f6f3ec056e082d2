package swarm

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

	"github.com/erlmcp/erlmcp/cluster/node" //nolint:depguard // what the tests have as a target
	"github.com/erlmcp/erlmcp/internal/guardtest"
)

// The test binary is a node, too: a node executes its own binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "node" {
		if err := playNode(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

func playNode(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if args[0] == "worker" {
		return node.Worker(ctx, log.New(os.Stderr))
	}
	var spec node.Spec
	if err := json.Unmarshal([]byte(args[1]), &spec); err != nil {
		return err
	}
	return node.Serve(ctx, spec, node.Options{Log: log.New(os.Stderr)})
}
