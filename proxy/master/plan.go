package master

import (
	"fmt"
	"runtime"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/proxy"
)

// descriptorsPerClient: its own connection, and the one to its node.
const descriptorsPerClient = 2

// capacity is how the clients are spread over processes.
type capacity struct {
	workers   int // to start with
	most      int // workers there may be
	perWorker int // clients one worker may hold
}

// planCapacity computes it for a machine with that many cores and a limit of nofile descriptors a
// process. It starts with a worker a core, and others join them when they are full, unless the number of
// workers is given: then the kernel spreads clients by hash, so each worker has room for more than its share.
func planCapacity(s *proxy.Spec, cores int, nofile uint64) (capacity, error) {
	c := capacity{perWorker: min(prefork.Room(descriptorsPerClient, nofile), s.MaxConnections)}
	if s.Workers == 0 {
		c.workers, c.most = cores, prefork.Most(cores, s.MaxConnections, descriptorsPerClient, nofile)
		if c.most == 0 {
			return c, tooFewFiles(s, cores, nofile)
		}
		return c, nil
	}
	needed := prefork.Copies(1, s.MaxConnections, descriptorsPerClient, nofile)
	if needed == 0 {
		return c, tooFewFiles(s, s.Workers, nofile)
	}
	if s.Workers < needed {
		return c, advice.With(fmt.Errorf("lb.workers: %d workers cannot hold %d connections with %d open files each", s.Workers, s.MaxConnections, nofile),
			fmt.Sprintf("at least %d are needed; 0 computes the number", needed))
	}
	c.workers, c.most = s.Workers, s.Workers
	return c, nil
}

// tooFewFiles says that the clients do not fit, and how many would.
func tooFewFiles(s *proxy.Spec, workers int, nofile uint64) error {
	return advice.With(fmt.Errorf("lb.max_connections: %d connections do not fit the limit of %d open files a process", s.MaxConnections, nofile),
		prefork.MoreFiles("lb.max_connections", prefork.Holds(workers, s.MaxConnections, descriptorsPerClient, nofile)))
}

// Plan returns with how many workers a valid spec starts on this machine, how many there may be, and how many
// clients one of them may hold. It fails as Serve would: if the descriptor limit is too low.
func Plan(s proxy.Spec) (workers, most, clientsPerWorker int, err error) {
	nofile, err := prefork.Ceiling()
	if err != nil {
		return 0, 0, 0, err
	}
	c, err := planCapacity(&s, runtime.GOMAXPROCS(0), nofile)
	return c.workers, c.most, c.perWorker, err
}
