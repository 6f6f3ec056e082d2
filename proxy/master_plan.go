package proxy

import (
	"fmt"
	"runtime"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// StartError says what keeps the balancer from running.
type StartError struct {
	Err    error
	Advice string // what to do about it
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Hint is the advice.
func (e *StartError) Hint() string { return e.Advice }

// descriptorsPerClient: its own connection, and the one to its node.
const descriptorsPerClient = 2

// capacity is how the clients are spread over processes.
type capacity struct {
	workers   int
	perWorker int // clients one worker may hold
}

// planCapacity computes it for a machine with that many cores and a limit of nofile descriptors a
// process. The kernel spreads clients by hash, so each worker has room for more than its share.
func planCapacity(s *Spec, cores int, nofile uint64) (capacity, error) {
	c := capacity{perWorker: min(prefork.Room(descriptorsPerClient, nofile), s.MaxConnections)}
	needed := prefork.Copies(1, s.MaxConnections, descriptorsPerClient, nofile)
	if needed == 0 {
		return c, &StartError{
			fmt.Errorf("lb.max_connections: %d connections do not fit the limit of %d open files a process", s.MaxConnections, nofile),
			"raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit) or lower lb.max_connections",
		}
	}
	if s.Workers == 0 {
		c.workers = max(cores, needed)
		return c, nil
	}
	if s.Workers < needed {
		return c, &StartError{
			fmt.Errorf("lb.workers: %d workers cannot hold %d connections with %d open files each", s.Workers, s.MaxConnections, nofile),
			fmt.Sprintf("at least %d are needed; 0 computes the number", needed),
		}
	}
	c.workers = s.Workers
	return c, nil
}

// planHere computes it for this machine, whose limit of descriptors is returned too.
func planHere(s *Spec) (c capacity, nofile uint64, err error) {
	if nofile, err = prefork.Limit(); err != nil {
		return c, nofile, err
	}
	c, err = planCapacity(s, runtime.GOMAXPROCS(0), nofile)
	return c, nofile, err
}

// Plan returns how many workers a valid spec takes on this machine, and how many clients one of
// them may hold. It fails as Serve would: with a *StartError if the descriptor limit is too low.
func Plan(s Spec) (workers, clientsPerWorker int, err error) {
	c, _, err := planHere(&s)
	return c.workers, c.perWorker, err
}
