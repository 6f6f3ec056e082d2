package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/lobby"
	"github.com/erlmcp/erlmcp/internal/tempo"
)

const (
	closeTimeout = time.Second
	// maxClients is how many are connected at a time: a part of prefork.Reserve.
	maxClients = 32
	// watchInterval is how soon a daemon notices that its files were removed. Clients wait longer, see patience.
	watchInterval = 500 * time.Millisecond
)

// Serve answers requests on the daemon's socket with h, in the background, until [Instance.Close].
// Only the user of the daemon, and root, can connect; of too many connections, that which rests longest is ended. The
// context of a request ends when the client goes or the daemon closes. Whatever is removed of directory, lock and socket
// meanwhile is made anew, which warn is told.
func (i *Instance) Serve(h http.Handler, warn func(message any, keyvals ...any)) error {
	ctx, cancel := context.WithCancel(context.Background())
	i.stop = cancel
	i.server = &http.Server{
		Handler:     h,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	lobby.Prepare(i.server)
	i.watched = make(chan struct{})
	if _, err := i.keep(); err != nil {
		cancel()
		i.server = nil
		return err
	}
	go i.watch(ctx, warn)
	return nil
}

// watch makes anew what is removed.
func (i *Instance) watch(ctx context.Context, warn func(message any, keyvals ...any)) {
	defer close(i.watched)
	failed := ""
	for range tempo.Every(ctx, watchInterval) {
		gone, err := i.keep()
		switch {
		case err == nil:
			failed = ""
			if gone != "" {
				warn("somebody has removed what commands find this daemon by; it was made anew", "removed", gone)
			}
		case err.Error() != failed:
			failed = err.Error()
			warn("somebody has removed what commands find this daemon by, and it cannot be made anew yet", "removed", gone, "err", err)
		}
	}
}

// keep makes directory, lock and socket as far as they are not there, and returns the first that is missing
// although it was there.
func (i *Instance) keep() (gone string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if mine, err := i.lock.Stat(); err != nil || !isStill(i.lock.Name(), mine) {
		gone = i.lock.Name()
		if _, err := os.Lstat(i.place.path); errors.Is(err, fs.ErrNotExist) {
			gone = i.place.path
		}
		p, err := prepare(i.place.given)
		if err != nil {
			return gone, err
		}
		lock, _, err := p.acquire(i.name)
		if err != nil {
			return gone, err
		}
		i.lock.Close()
		i.place, i.lock = p, lock
	}
	if path, err := i.place.socketName(i.name); err != nil {
		return gone, err
	} else if i.socket == nil || !isStill(path, i.socket) {
		if i.socket != nil && gone == "" {
			gone = path
		}
		if err := i.listen(path); err != nil {
			return gone, fmt.Errorf("open control socket: %w", err)
		}
	}
	if now := self(serving); readHolder(i.lock) != now {
		writeHolder(i.lock, now)
	}
	return gone, nil
}

// isStill reports whether what has that name is that file.
func isStill(name string, file os.FileInfo) bool {
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(now, file)
}

// listen opens the socket and serves it.
func (i *Instance) listen(path string) error {
	// Bound under another name and renamed: nobody can connect before the permissions are right, and a
	// socket left by a killed daemon is replaced at once.
	unready := strings.TrimSuffix(path, ".sock") + ".new"
	_ = os.Remove(unready)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: unready, Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	if err = os.Chmod(unready, 0o600); err == nil {
		err = os.Rename(unready, path)
	}
	var made os.FileInfo
	if err == nil {
		made, err = os.Lstat(path)
	}
	if err != nil {
		_ = listener.Close()
		_ = os.Remove(unready)
		return err
	}
	if i.listener != nil {
		_ = i.listener.Close()
	}
	i.listener, i.socket = listener, made
	server, own := i.server, lobby.New(ownListener{listener, i.place}, maxClients)
	go func() { _ = server.Serve(own) }() // ErrServerClosed, or closed for another
	return nil
}

// ownListener accepts the daemon's user and root only.
type ownListener struct {
	*net.UnixListener
	place place
}

// Accept implements net.Listener.
func (l ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(c); err == nil && (uid == l.place.owner || uid == 0) {
			return c, nil
		}
		_ = c.Close()
	}
}

// peer is the user at the other end of a socket.
func peer(c *net.UnixConn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var asked error
	err = raw.Control(func(fd uintptr) { uid, asked = peerOf(int(fd)) })
	return uid, errors.Join(err, asked)
}

func (i *Instance) stopServing() {
	if i.server == nil {
		return
	}
	i.stop()
	<-i.watched
	// The socket goes first, so that whoever finds it gone or refused knows that nothing was taken over.
	writeHolder(i.lock, self(ending))
	if path, err := i.place.socketName(i.name); err == nil && isStill(path, i.socket) {
		_ = os.Remove(path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if i.server.Shutdown(ctx) != nil {
		_ = i.server.Close()
	}
}
