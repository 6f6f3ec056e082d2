package prefork

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// Nothing that a copy said gets lost, even if it ends at once.
func TestLastWords(t *testing.T) {
	h := start(t, "last-word", 1, func(c *Config) { c.Backoff.Min = time.Hour })
	h.awaitEvents(t, "exit", 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) != 102 || h.events[101].What != "exit" {
		t.Fatalf("%d events", len(h.events))
	}
	for i, e := range h.events[1:101] {
		if got := into[int](t, e.Message.Data); got != i {
			t.Fatalf("word %d is %d", i, got)
		}
	}
}

func TestLargeMessages(t *testing.T) {
	h := start(t, "worker", 2, nil)
	text := strings.Repeat("spec é ", 1<<19)
	for range 2 {
		h.Broadcast("echo", text)
	}
	for _, e := range h.awaitEvents(t, "message", 4) {
		if into[string](t, e.Message.Data) != text {
			t.Error("not the same text")
		}
	}
	if err := h.Send(0, "echo", strings.Repeat("x", maxBytes)); err == nil || errors.Is(err, ErrBacklog) {
		t.Errorf("message over the limit: %v", err)
	}
	if err := h.Send(0, "", nil); err == nil {
		t.Error("message without a kind")
	}
	h.send(t, 0, "echo", nil)
	h.awaitEvents(t, "message", 5)
}

// A copy that does not read cannot hold up its parent. It is replaced.
func TestDeafCopy(t *testing.T) {
	h := start(t, "deaf", 1, nil)
	h.awaitEvents(t, "message", 1)
	text := strings.Repeat("x", 16<<20)
	var err error
	for n := 0; err == nil; n++ {
		if n > maxBytes/len(text) {
			t.Fatal("all of it was accepted")
		}
		err = h.Send(0, "spec", text)
	}
	if !errors.Is(err, ErrBacklog) {
		t.Errorf("send: %v", err)
	}
	h.awaitEvents(t, "start", 2)
}

func TestBabblingCopy(t *testing.T) {
	h := start(t, "babble", 1, nil)
	h.awaitEvents(t, "exit", 2)
	if n := len(h.all("message")); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// While the state changes and copies come and go, each gets the state of its start and then every
// change.
func TestHelloMissesNothing(t *testing.T) {
	var (
		mu    sync.Mutex
		state int
	)
	h := start(t, "worker", 3, func(c *Config) {
		c.Hello = func(int) (string, any) {
			mu.Lock()
			defer mu.Unlock()
			return "hello", state
		}
	})
	const changes = 400
	for i := range changes {
		mu.Lock()
		state++
		h.Broadcast("change", state)
		mu.Unlock()
		if i%40 == 0 {
			h.Kill(i / 40 % 3)
			h.awaitEvents(t, "start", 4+i/40)
		}
	}
	current := func() int {
		n := 0
		for _, life := range h.lives() {
			if len(life) > 0 && last(life).Message.Kind != "" && into[int](t, last(life).Message.Data) == changes {
				n++
			}
		}
		return n
	}
	await(t, "every copy knows the latest state", func() bool { return current() >= 3 })
	for _, life := range h.lives() {
		known := -1
		for _, m := range life {
			n := into[int](t, m.Message.Data)
			switch {
			case known == -1 && m.Message.Kind == "hello":
				known = n
			case known == -1 || m.Message.Kind == "hello":
				t.Fatalf("life begins with %+v", life[0].Message)
			case n > known+1:
				t.Fatalf("change %d follows state %d", n, known)
			default:
				known = max(known, n)
			}
		}
	}
}

// lives returns the messages of every process, dead or alive.
func (h *harness) lives() (lives [][]event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := make(map[int]int) // copy to its latest life
	for _, e := range h.events {
		switch e.What {
		case "start":
			at[e.Copy] = len(lives)
			lives = append(lives, nil)
		case "message":
			lives[at[e.Copy]] = append(lives[at[e.Copy]], e)
		}
	}
	return lives
}

func last[T any](s []T) T { return s[len(s)-1] }
