package exit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Stopped is why a command's context was cancelled from outside, and with which code a command
// that was cut short by it ends.
type Stopped struct {
	Code   int
	Reason string
}

func (e *Stopped) Error() string { return e.Reason }

// WithSignals returns a context that SIGINT or SIGTERM cancels: commands then stop gracefully. A SIGINT
// after that ends the process at once. More SIGTERMs change nothing: a copy of this binary can get
// one from its parent and one from the service manager.
func WithSignals(parent context.Context, stderr io.Writer) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		stopping := false
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				switch {
				case !stopping:
					stopping = true
					cancel(&Stopped{Code: 128 + int(s.(syscall.Signal)), Reason: "stopped by " + s.String()})
				case s == syscall.SIGINT:
					fmt.Fprintln(stderr, "erlmcp: interrupted again, leaving at once")
					os.Exit(Interrupted)
				}
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(context.Canceled)
	}
}

// WhileRead is w for a command, which is cancelled when nobody reads from w any more.
func WhileRead(w io.Writer, cancel context.CancelCauseFunc) io.Writer {
	return &closedStdout{w, cancel}
}

// closedStdout is the standard output as a filter like `head` leaves it: the first write it refuses
// cancels the command, without a message and without being a failure.
type closedStdout struct {
	w      io.Writer
	cancel context.CancelCauseFunc
}

func (c *closedStdout) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = &Stopped{Code: OK, Reason: "nobody reads the output any more"}
		c.cancel(err)
	}
	return n, err
}

// CatchBrokenPipe turns the signal that would kill the process on a write to a closed pipe into the
// error EPIPE of that write.
func CatchBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
