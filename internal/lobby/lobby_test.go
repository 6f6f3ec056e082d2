package lobby

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

// Open is how many connections there are.
func (l *Lobby) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crowd.Seats()
}

// served is a lobby that counts how often one of its visitors came to rest.
type served struct {
	*Lobby
	rests atomic.Int32
}

// awaitRests waits until it has been so often: who hears an answer does so before that is known.
func (l *served) awaitRests(t *testing.T, n int) {
	t.Helper()
	waittest.Until(t, time.Minute, fmt.Sprint(n, " rests"), func() bool { return int(l.rests.Load()) >= n })
}

// open serves a lobby whose requests for /wait last until wait is closed.
func open(t *testing.T, most int) (l *served, wait chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wait = make(chan struct{})
	l = &served{Lobby: New(ln, most)}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-wait
		}
		fmt.Fprint(w, "hi")
	})}
	Prepare(s)
	enter := s.ConnState
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if enter(c, state); state == http.StateIdle {
			l.rests.Add(1)
		}
	}
	done := make(chan struct{})
	go func() { _ = s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l, wait
}

type guest struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func (l *Lobby) visit(t *testing.T, from string) *guest {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &guest{c, bufio.NewReader(c), t}
}

func (g *guest) say(path string) {
	g.t.Helper()
	if _, err := io.WriteString(g, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) hear() {
	g.t.Helper()
	resp, err := http.ReadResponse(g.r, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "hi" {
		g.t.Fatal(string(text), err)
	}
}

func (g *guest) ended() bool {
	_ = g.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := g.r.ReadByte()
	return err != nil && !strings.Contains(err.Error(), "timeout")
}

// However many stay, a newcomer is answered, and who rests longest has gone.
func TestNewcomersAreAnswered(t *testing.T) {
	const most = 8
	l, _ := open(t, most)
	var all []*guest
	for i := range 200 {
		g := l.visit(t, "127.0.0.1")
		g.say("/")
		g.hear()
		l.awaitRests(t, i+1)
		all = append(all, g)
		if n := l.Open(); n > most {
			t.Fatalf("%d are open", n)
		}
	}
	for i, g := range all[:200-most] {
		if !g.ended() {
			t.Fatalf("visitor %d is still there", i)
		}
	}
	for _, g := range all[200-most:] {
		g.say("/")
		g.hear()
	}
}

// Who is being answered goes last, and who only asks slowly before.
func TestWhoIsAnsweredStays(t *testing.T) {
	l, wait := open(t, 3)
	asks := l.visit(t, "127.0.0.1")
	asks.say("/wait")
	rests := l.visit(t, "127.0.0.1")
	rests.say("/")
	rests.hear()
	l.awaitRests(t, 1)
	silent := l.visit(t, "127.0.0.1")
	waittest.Until(t, time.Minute, "three visitors", func() bool { return l.Open() == 3 })
	for range 2 {
		l.visit(t, "127.0.0.1").say("/wait")
	}
	if !rests.ended() || !silent.ended() {
		t.Fatal("who only rests is still there")
	}
	close(wait)
	asks.hear()
}

// Slow heads cannot keep others away, though each of them asks.
func TestSlowHeadsGiveWay(t *testing.T) {
	l, _ := open(t, 4)
	for range 20 {
		g := l.visit(t, "127.0.0.1")
		_, _ = io.WriteString(g, "GET / HTTP/1.1\r\nX: ")
	}
	g := l.visit(t, "127.0.0.2")
	g.say("/")
	g.hear()
	g.say("/")
	g.hear()
}

// The address that has most loses one, whoever comes.
func TestTheBusiestAddressGivesWay(t *testing.T) {
	l, _ := open(t, 6)
	few := l.visit(t, "127.0.0.2")
	few.say("/")
	few.hear()
	for range 50 {
		g := l.visit(t, "127.0.0.1")
		g.say("/")
		g.hear()
	}
	few.say("/")
	few.hear()
}

// A server that ends leaves nobody in.
func TestNobodyStays(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(ln, 4)
	s := &http.Server{Handler: http.NotFoundHandler()}
	done := make(chan struct{})
	go func() { l.Serve(s); close(done) }()
	g := l.visit(t, "127.0.0.1")
	g.say("/")
	if _, err := g.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s.Close()
	<-done
	if n := l.Open(); n != 0 {
		t.Errorf("%d are open", n)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
