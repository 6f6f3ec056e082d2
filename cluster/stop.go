package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
)

const (
	stopPause = 20 * time.Millisecond
	// signOfLife is how long a supervisor that is not gone may be silent.
	signOfLife = 3 * time.Second
)

// Stop takes the cluster of stateDir down: all nodes at once, and then the supervisor. It
// returns when all of it has ended. A supervisor that gives no sign of life is woken, then killed, and
// the nodes with it. The error is control.ErrNotRunning when there is none.
func Stop(ctx context.Context, stateDir string) error {
	pid, running := control.Running(stateDir, daemonName)
	if !running {
		return fmt.Errorf("cluster is %w", control.ErrNotRunning)
	}
	client := Connect(stateDir)
	remedies := []syscall.Signal{syscall.SIGCONT, syscall.SIGKILL}
	alive := time.Now()
	for !ended(stateDir, pid) {
		err := client.shutdown(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			alive = time.Now()
		case !errors.Is(err, control.ErrNotRunning) && !errors.Is(err, context.DeadlineExceeded):
			return err
		case time.Since(alive) >= signOfLife && pid != 0 && len(remedies) > 0:
			err := control.Signal(stateDir, daemonName, pid, remedies[0])
			if err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("the supervisor (pid %d) does not answer: %w", pid, err)
			}
			remedies, alive = remedies[1:], time.Now()
		}
		select {
		case <-time.After(stopPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// shutdown asks the supervisor to end, which it can be any number of times.
func (c *Client) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signOfLife)
	defer cancel()
	return c.control.Do(ctx, http.MethodPost, "/v1/shutdown", nil, nil)
}

// ended reports whether the supervisor with that pid is gone. One on its way out has taken its pid
// from the lock already.
func ended(stateDir string, pid int) bool {
	now, running := control.Running(stateDir, daemonName)
	return !running || now != pid && now != 0 && pid != 0
}
