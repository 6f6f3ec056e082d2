package daemon

import (
	"context"
	"os"
	"strconv"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/tempo"
)

// The service manager wants a sign of life each so many microseconds, from the process with that pid, see
// sd_watchdog_enabled(3).
const (
	watchdogEnv    = "WATCHDOG_USEC"
	watchdogPIDEnv = "WATCHDOG_PID"
)

// watchdog is how long the service manager waits for a sign of life before it ends this process; 0 when it does not.
var watchdog = watchdogOf(os.Getenv(watchdogEnv), os.Getenv(watchdogPIDEnv), os.Getpid())

func init() { // what this process starts is not asked
	os.Unsetenv(watchdogEnv)
	os.Unsetenv(watchdogPIDEnv)
}

// maxWatchdog bounds what is taken for a time, in microseconds.
const maxWatchdog = int64(365 * 24 * time.Hour / time.Microsecond)

func watchdogOf(usec, pid string, self int) time.Duration {
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > maxWatchdog || pid != "" && pid != strconv.Itoa(self) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// signsOfLife is how many the service manager gets in the time in which it wants one.
const signsOfLife = 3

// Watch gives the service manager the signs of life that it asks for, each only when alive has returned nil. It
// returns when ctx ends, and at once where nobody asks. alive has what it looks at do something; its context ends
// when the sign is due.
func Watch(ctx context.Context, alive func(context.Context) error, logger *log.Logger) {
	watch(ctx, watchdog/signsOfLife, alive, func() error { return notify(manager, "WATCHDOG=1") }, logger)
}

func watch(ctx context.Context, every time.Duration, alive func(context.Context) error, sign func() error, logger *log.Logger) {
	if every <= 0 {
		return
	}
	for range tempo.AtOnce(ctx, every) {
		err := within(ctx, every, alive)
		if err == nil {
			err = sign()
		}
		if err != nil && ctx.Err() == nil {
			logger.Error("no sign of life for the service manager", "err", err)
		}
	}
}

// within asks alive, for so long.
func within(ctx context.Context, d time.Duration, alive func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return alive(ctx)
}
