package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// wire is what the client's requests go through. It knows when the stream for the server's own messages is open,
// and can cut the stream of an answer after its first event.
type wire struct {
	listening chan struct{} // closed when the first GET is answered

	mu       sync.Mutex
	heard    func()
	statuses map[string]int // last one, by method, and of resumptions
	cut      bool

	beforeResumption func(context.Context) error
}

func newWire() *wire {
	listening := make(chan struct{})
	return &wire{
		listening: listening,
		heard:     sync.OnceFunc(func() { close(listening) }),
		statuses:  map[string]int{},
	}
}

// cutNext has the next answer that is a stream cut.
func (w *wire) cutNext() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
}

func (w *wire) status(of string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.statuses[of]
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	what := req.Method
	if req.Header.Get("Last-Event-ID") != "" {
		what = "resumed"
		if w.beforeResumption != nil {
			if err := w.beforeResumption(req.Context()); err != nil {
				return nil, err
			}
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses[what] = resp.StatusCode
	if req.Method == http.MethodGet {
		w.heard()
	}
	if w.cut && req.Method == http.MethodPost && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		w.cut = false
		resp.Body = &cutBody{ReadCloser: resp.Body}
	}
	return resp, nil
}

// cutBody is a stream that breaks after its first event that has an id.
type cutBody struct {
	io.ReadCloser
	seen bytes.Buffer
}

var eventWithID = regexp.MustCompile(`(?m)^id:.*\n(.+\n)*\n`)

func (b *cutBody) Read(p []byte) (int, error) {
	if eventWithID.Match(b.seen.Bytes()) {
		b.Close()
		return 0, errors.New("cut by the test")
	}
	n, err := b.ReadCloser.Read(p)
	b.seen.Write(p[:n])
	return n, err
}
