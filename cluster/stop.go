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
	"github.com/erlmcp/erlmcp/internal/tempo"
)

const (
	stopPause = 20 * time.Millisecond
	// signOfLife is how long a supervisor that is not gone may be silent.
	signOfLife = 3 * time.Second
	// deathPatience is how long one may take to be gone after it was killed, with its nodes.
	deathPatience = 30 * time.Second
)

// Stop takes the cluster of stateDir down: all nodes at once, and then the supervisor. It
// returns when all of it has ended. A supervisor that gives no sign of life is woken, then killed, and
// the nodes with it. The error is control.ErrNotRunning when there is none.
func Stop(ctx context.Context, stateDir string) error {
	pid, running, err := control.Running(stateDir, daemonName)
	if err != nil {
		return err
	}
	if !running {
		return fmt.Errorf("cluster is %w", control.ErrNotRunning)
	}
	client := Connect(stateDir)
	remedies := []syscall.Signal{syscall.SIGCONT, syscall.SIGKILL}
	alive := time.Now()
	for {
		if over, err := ended(stateDir, pid); over || err != nil {
			return err
		}
		err := client.shutdown(ctx)
		switch silent := time.Since(alive); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			alive = time.Now()
		case !errors.Is(err, control.ErrNotRunning) && !errors.Is(err, context.DeadlineExceeded) && !control.Between(err):
			return err
		case silent < signOfLife:
		case len(remedies) > 0:
			if pid == 0 { // it had not said so yet
				pid, _, _ = control.Running(stateDir, daemonName)
			}
			err := control.Signal(stateDir, daemonName, pid, remedies[0])
			if errors.As(err, new(*control.StrangerError)) || err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("the supervisor does not answer: %w", err)
			}
			remedies, alive = remedies[1:], time.Now()
		case silent > deathPatience:
			return fmt.Errorf("the supervisor (pid %d) neither answers nor ends when it is killed: %w", pid, err)
		}
		if err := tempo.Pause(ctx, stopPause); err != nil {
			return err
		}
	}
}

// shutdown asks the supervisor to end, which it can be any number of times.
func (c *Client) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signOfLife)
	defer cancel()
	return c.control.Do(ctx, http.MethodPost, "/v1/shutdown", nil, nil)
}

// ended reports whether the supervisor with that pid is gone. One on its way out has taken its pid
// from the lock already.
func ended(stateDir string, pid int) (bool, error) {
	now, running, err := control.Running(stateDir, daemonName)
	return err == nil && (!running || now != pid && now != 0 && pid != 0), err
}
