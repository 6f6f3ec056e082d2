package daemon

import (
	"fmt"
	"net"
	"os"
	"time"
)

// notifyEnv names the socket on which a service manager wants to be told how its service is, see
// sd_notify(3).
const notifyEnv = "NOTIFY_SOCKET"

// manager is that socket; "" when there is none. What this process starts must not inherit it: the
// manager would take each for the service.
var manager = os.Getenv(notifyEnv)

func init() { os.Unsetenv(notifyEnv) }

// Stopping tells the service manager, if there is one, that this daemon is about to end, and how long that
// may take: the manager's own limit may be of another configuration.
func Stopping(within time.Duration) error {
	return notify(manager, fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// notify sends a state to the socket of a service manager, and nothing when socket is "".
func notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	if socket[0] != '/' && socket[0] != '@' { // @ stands for the abstract namespace
		return fmt.Errorf("%s: %s is neither a path nor an abstract name", notifyEnv, socket)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("%s: %w", notifyEnv, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("%s: %w", notifyEnv, err)
	}
	return nil
}
