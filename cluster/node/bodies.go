package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/pages"
)

const (
	// bodyTimeout is how long a client may take to send a message.
	bodyTimeout = 30 * time.Second

	// handling is how many times the length of a message its handling takes, about: it is decoded, answered and
	// encoded.
	handling = 4

	// stillAfter is for how many seconds nothing has come of a message, or for how long it has been handled, when it
	// may have to give way to others.
	stillAfter = 2

	// patience is for how long a message waits for room.
	patience = 10 * time.Second
)

// bodies are the messages that HTTP clients are sending, and those that are being handled. Together they take as much
// memory as the process may hold.
type bodies struct {
	mu    sync.Mutex
	hoard hoard[*body]
	freed chan struct{} // closed when there may be room again
	start time.Time
}

func newBodies(most int) *bodies {
	return &bodies{hoard: hoard[*body]{most: most}, freed: make(chan struct{}), start: time.Now()}
}

// body is one message. Methods are for one goroutine.
type body struct {
	holding
	all  *bodies
	text []byte
	owed int // what earlier ones take that came the same way
	ctx  context.Context
	cut  context.CancelCauseFunc // it gives way
}

// hold counts what a message takes from now on. Where that is too much, it waits for room, and those that are still
// give way, the largest first.
func (b *body) hold(bytes int) error {
	for end := time.Now().Add(patience); ; {
		wait := b.try(bytes)
		if wait == nil {
			return context.Cause(b.ctx)
		}
		select {
		case <-wait:
		case <-time.After(time.Second): // somebody may be still by now
		case <-b.ctx.Done():
		}
		if time.Now().After(end) {
			b.cut(errTooMuchHeld)
		}
	}
}

// try counts bytes for b if there is room, or if it is all that is there. Else it returns what to wait for.
func (b *body) try(bytes int) (wait <-chan struct{}) {
	all := b.all
	all.mu.Lock()
	defer all.mu.Unlock()
	now := all.now()
	all.hoard.spare(b) // who waits for others gives way to nobody
	for b.ctx.Err() == nil {
		if others := all.hoard.held - int(b.bytes); others <= 0 || others+bytes <= all.hoard.most {
			all.hoard.hold(b, bytes, now)
			return nil
		}
		largest, ok := all.hoard.largest()
		if !ok || now-largest.moved < stillAfter {
			return all.freed
		}
		all.giveBackLocked(largest)
		largest.cut(errTooMuchHeld)
	}
	return nil
}

func (all *bodies) giveBackLocked(b *body) {
	if b.bytes > 0 {
		all.hoard.hold(b, 0, 0)
		close(all.freed)
		all.freed = make(chan struct{})
	}
}

// passTo has another one hold what a message has taken.
func (b *body) passTo(other *body) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	bytes := int(b.bytes)
	b.all.hoard.hold(b, 0, 0)
	if other.ctx.Err() == nil {
		b.all.hoard.hold(other, int(other.bytes)+bytes, b.all.now())
	}
}

// now is in seconds.
func (all *bodies) now() int32 { return int32(time.Since(all.start) / time.Second) }

// giveBack gives back what a message has taken.
func (b *body) giveBack() {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	b.all.giveBackLocked(b)
}

// release ends a message that is handled.
func (b *body) release() {
	b.giveBack()
	pages.Free(b.take())
	b.cut(nil)
}

// take returns the text, which is the caller's to free.
func (b *body) take() []byte {
	text := b.text
	b.text = nil
	return text
}

// collect reads a message to its end. A reader that blocks has to end when ctx does.
func (b *body) collect(r io.Reader) error {
	b.text = make([]byte, 0, 512)
	for {
		n, err := r.Read(b.text[len(b.text):cap(b.text)])
		b.text = b.text[:len(b.text)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b.hold(b.owed + max(cap(b.text), handling*len(b.text)))
		case err != nil:
			return err
		case len(b.text) == cap(b.text):
			if err := b.grow(2 * cap(b.text)); err != nil {
				return err
			}
		}
	}
}

// grow makes room for a message of so many bytes.
func (b *body) grow(size int) error {
	if err := b.hold(b.owed + size + cap(b.text)); err != nil { // while both are there
		return err
	}
	b.text = pages.Grow(b.text, size)
	return b.hold(b.owed + size)
}

// message returns an empty one, which is to be released.
func (all *bodies) message(ctx context.Context) *body {
	b := &body{all: all}
	b.ctx, b.cut = context.WithCancelCause(ctx)
	return b
}

// reading has next get requests whose bodies have been read in full, within bodyTimeout, and can be read again. The text is
// valid until next returns.
func (all *bodies) reading(limit int64, next func(w http.ResponseWriter, r *http.Request, text []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next(w, r, nil)
			return
		}
		b := all.message(r.Context())
		defer b.release()
		if b.receive(w, r, limit) {
			r = r.WithContext(b.ctx)
			r.Body = io.NopCloser(bytes.NewReader(b.text))
			next(w, r, b.text)
		}
	})
}

// receive reads the body of a request. If ok is false, the request has been answered.
func (b *body) receive(w http.ResponseWriter, r *http.Request, limit int64) (ok bool) {
	control := http.NewResponseController(w)
	err := control.SetReadDeadline(time.Now().Add(bodyTimeout))
	unblock := context.AfterFunc(b.ctx, func() { _ = control.SetReadDeadline(time.Now()) })
	if err == nil {
		err = b.collect(http.MaxBytesReader(w, r.Body, limit))
	}
	if unblock() { // else the connection cannot be read any more, and ends
		err = errors.Join(err, control.SetReadDeadline(time.Time{})) // the server still watches for the client to go
	}
	tooLarge := new(http.MaxBytesError)
	switch {
	case errors.Is(context.Cause(b.ctx), errTooMuchHeld):
		w.Header().Set("Connection", "close")
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, mcp.CodeUnavailable, errTooMuchHeld.Error())
	case err == nil:
		return true
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, mcp.CodeInvalidRequest, "the message is too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, http.StatusRequestTimeout, mcp.CodeInvalidRequest, "the message did not arrive in time")
	default:
		refuse(w, http.StatusBadRequest, mcp.CodeInvalidRequest, "the message did not arrive")
	}
	return false
}
