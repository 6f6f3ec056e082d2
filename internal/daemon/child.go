package daemon

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/prefork"
)

const (
	reportEnv = "ERLMCP_DAEMON" // tells the daemon the descriptor of the pipe
	reportFD  = 3               // the first of exec.Cmd.ExtraFiles
)

// starter is the pipe to the process that called Start; nil in every other process and after the
// one report.
var starter struct {
	mu   sync.Mutex
	pipe *os.File
}

// The pipe must be claimed before this process can start another one: a child that inherited it
// would hide this process's death from the starter.
func init() {
	fd, err := strconv.Atoi(os.Getenv(reportEnv))
	os.Unsetenv(reportEnv)
	if err != nil || fd != reportFD {
		return
	}
	syscall.CloseOnExec(fd)
	starter.pipe = os.NewFile(uintptr(fd), "starter")
	prefork.NameProcess()
}

// Ready tells the starter, or the service manager, that this daemon is up. In a process that has
// neither it does nothing. It fails when the one to tell has gone, which a daemon may ignore.
func Ready() error {
	return errors.Join(notify(manager, "READY=1"), tell(Report{Ready: true}))
}

// Fail tells the starter why this daemon cannot come up; the caller then ends. Methods Hint()
// string and ExitCode() int of err are kept. After [Ready], and in a process not started by
// [Start], it does nothing.
func Fail(err error) {
	hint, exit := advice.Of(err)
	_ = tell(Report{Message: err.Error(), Hint: hint, Exit: max(exit, 1)}) // the starter has gone
}

func tell(r Report) error {
	starter.mu.Lock()
	defer starter.mu.Unlock()
	if starter.pipe == nil {
		return nil
	}
	defer func() {
		starter.pipe.Close()
		starter.pipe = nil
	}()
	return json.NewEncoder(starter.pipe).Encode(r)
}
