package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
)

// codeElsewhere says that a supervisor is restarted by whoever has started it.
const codeElsewhere = "not_in_place"

// PrepareRestart reports what would keep the cluster of o from starting when what runs has been stopped, before
// anything is. inPlace says that its supervisor runs in the foreground, of a service or a container say: then that is
// for the supervisor to find out, see [RestartInPlace]. It is an error, control.ErrNotRunning, that none runs.
func PrepareRestart(ctx context.Context, o Options) (inPlace bool, err error) {
	s, err := Connect(o.StateDir).Status(ctx)
	var silent *SilentError // one that hangs is ended by Stop; what its nodes hold is not known
	if err != nil && !errors.As(err, &silent) {
		return false, err
	}
	if s.Foreground {
		return true, nil
	}
	if err := o.check(); err != nil || silent != nil {
		return false, err
	}
	if err := Preflight(ctx, o.Spec, o.StateDir, s.Nodes); err != nil {
		return false, notStopped(err)
	}
	return false, nil
}

// RestartInPlace has a supervisor that runs in the foreground stop its nodes and start them again, if all that is needed
// for that is there, with the program as it is now, the configuration that it reads itself, and the environment that
// it has. It stays the process that it is.
func RestartInPlace(ctx context.Context, o Options) error {
	return o.watched(ctx, func() error { return Connect(o.StateDir).again(ctx) })
}

// notStopped says that nothing has come of what was asked.
func notStopped(err error) error {
	return fmt.Errorf("the cluster goes on as it is, because it could not be started again: %w", err)
}

// watched reports progress while do goes on, and how it ends.
func (o *Options) watched(ctx context.Context, do func() error) error {
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	var watcher sync.WaitGroup
	watcher.Go(func() { o.watch(watching) })
	err := do()
	unwatch()
	watcher.Wait()
	if err == nil {
		o.conclude(ctx)
	}
	return err
}

// again has the supervisor restart in place and returns when its nodes are ready, or why they are not.
func (c *Client) again(ctx context.Context) error {
	var r daemon.Report
	err := c.control.Do(ctx, http.MethodPost, "/v1/again", nil, &r)
	switch {
	case errors.Is(err, control.ErrNotRunning): // it did a moment ago
		return &daemon.Error{
			Message: "the supervisor ended, without a word, while it restarted in place",
			Advice:  "look into its log, and see whether whoever looks after it has started it again: erlmcp cluster status",
		}
	case err != nil:
		return err
	}
	return r.Err()
}

// serveAgain takes the cluster down, to be brought up again by the program that this process then becomes. Whoever
// asks reads the report of that one.
func (s *supervisor) serveAgain(w http.ResponseWriter, r *http.Request) {
	s.asking.Lock()
	defer s.asking.Unlock()
	waiting, err := s.prepareAgain(w, r)
	if err != nil {
		s.log.Error("no restart in place", "err", err) // whoever asks may be out of reach by now
		control.Fail(w, err)
		return
	}
	s.mu.Lock()
	s.waiting = waiting
	s.mu.Unlock()
	s.shutdown()
}

func (s *supervisor) prepareAgain(w http.ResponseWriter, r *http.Request) (waiting *os.File, err error) {
	if s.options.Load == nil {
		return nil, &control.Error{
			Status: http.StatusConflict, Code: codeElsewhere, Message: "this supervisor does not restart in place",
		}
	}
	if s.ending() {
		return nil, errStopping
	}
	spec, err := s.options.Load()
	if err != nil {
		return nil, notStopped(err)
	}
	nodes, _ := s.register.snapshot()
	if err := Preflight(r.Context(), spec, s.options.StateDir, nodes); err != nil {
		return nil, notStopped(err)
	}
	if s.ending() { // meanwhile
		return nil, errStopping
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	unix, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("a connection of the type %T cannot be passed on", conn)
	}
	if waiting, err = unix.File(); err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")); err != nil {
		waiting.Close()
		return nil, err
	}
	return waiting, nil
}

// endForAgain takes everything down if a restart in place has been asked for, and returns who waits for it; nil means
// that there is none, or that the end has been asked for meanwhile.
func (s *supervisor) endForAgain(ctx context.Context) *os.File {
	s.mu.Lock()
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	if waiting == nil {
		return nil
	}
	s.log.Info("restarting in place")
	s.takeDown()
	if ctx.Err() != nil {
		waiting.Close()
		return nil
	}
	return waiting
}
