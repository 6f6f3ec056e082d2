package control

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/lobby"
)

const (
	closeTimeout = time.Second
	// maxClients is how many are connected at a time: a part of prefork.Reserve.
	maxClients = 32
)

// Serve answers requests on the daemon's socket with h, in the background, until [Instance.Close].
// Only the user of the daemon can connect; of too many connections, that which rests longest is ended. The context of a request ends when the client goes or
// the daemon closes.
func (i *Instance) Serve(h http.Handler) error {
	// Bound under another name and renamed: nobody can connect before the permissions are right, and a
	// socket left by a killed daemon is replaced at once.
	unready := strings.TrimSuffix(i.socket, ".sock") + ".new"
	_ = os.Remove(unready)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: unready, Net: "unix"})
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	if err = os.Chmod(unready, 0o600); err == nil {
		err = os.Rename(unready, i.socket)
	}
	if err != nil {
		_ = listener.Close()
		_ = os.Remove(unready)
		return fmt.Errorf("open control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.stop = cancel
	i.server = &http.Server{
		Handler:     h,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go lobby.New(listener, maxClients).Serve(i.server)
	return nil
}

func (i *Instance) stopServing() {
	if i.server == nil {
		return
	}
	i.stop()
	// The socket goes first, so that whoever finds it gone or refused knows that nothing was taken over.
	_ = os.Remove(i.socket)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if i.server.Shutdown(ctx) != nil {
		_ = i.server.Close()
	}
}
