package bus

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "a long random text that both know"

// echo is a coordinator that says what it hears.
type echo struct {
	mu   sync.Mutex
	gone []error
}

func (e *echo) events() Events {
	return Events{
		Message: func(p Peer, m Message) { _ = p.Send(m.Kind, m.Data) },
		Gone: func(_ Peer, err error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.gone = append(e.gone, err)
		},
	}
}

func (e *echo) awaitGone(t *testing.T, why string) {
	t.Helper()
	waittest.Until(t, time.Minute, "the end of the link", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.gone) > 0
	})
	if got := e.gone[0].Error(); got != why {
		t.Errorf("it has gone: %s, want %s", got, why)
	}
}

func listen(t *testing.T, e *echo) (d Door, address, pin string) {
	t.Helper()
	d, err := Listen("127.0.0.1:0", token, 2, e.events())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	f := strings.Fields(d.Flags())
	return d, f[1], f[3]
}

// converse has a link carry messages, large ones too, in order.
func converse(t *testing.T, l Link) {
	t.Helper()
	texts := []string{"", "é\n\"", strings.Repeat("x", 500_000)}
	for _, text := range texts {
		if err := l.Send("k", text); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range texts {
		m, err := l.Receive()
		var got string
		if err != nil || m.Kind != "k" || json.Unmarshal(m.Data, &got) != nil || got != want {
			t.Fatalf("%d bytes, %v, want %d", len(got), err, len(want))
		}
	}
}

func TestLinkOverTLS(t *testing.T) {
	for _, pinned := range []bool{true, false} {
		e := &echo{}
		_, address, pin := listen(t, e)
		if !pinned {
			pin = ""
		}
		l, err := Dial(t.Context(), address, pin, token)
		if err != nil {
			t.Fatal(err)
		}
		converse(t, l)
		l.Close("no reason")
		e.awaitGone(t, "no reason")
	}
}

func TestDoorCloses(t *testing.T) {
	d, address, pin := listen(t, &echo{})
	l, err := Dial(t.Context(), address, pin, token)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close("")
	d.Close()
	if m, err := l.Receive(); err == nil {
		t.Errorf("it says %+v", m)
	}
	if _, err := Dial(t.Context(), address, pin, token); err == nil {
		t.Error("a closed door is open")
	}
}

// Only who knows the token gets in, and nobody is told it.
func TestStrangersStayOutside(t *testing.T) {
	if _, err := Listen("127.0.0.1:0", "", 1, Events{}); err == nil {
		t.Error("there is a door without a secret")
	}
	e := &echo{}
	_, address, pin := listen(t, e)
	_, otherPin, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ address, pin, token, want string }{
		{address, pin, "guess", "the secrets of load test and agent are not the same"},
		{address, otherPin, token, ErrNotPinned.Error()},
		{address, "", "short", "without a pin the secret must have at least 32 characters"},
		{address, "sha256:", token, "is no pin"},
		{address, "md5:" + pin[7:], token, "is no pin"},
		{address, pin + "00", token, "is no pin"},
		{strings.TrimPrefix(address, "tls://"), pin, token, "is not of the form tls://HOST:PORT"},
	} {
		if _, err := Dial(t.Context(), c.address, c.pin, c.token); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.gone) > 0 {
		t.Errorf("somebody was in: %v", e.gone)
	}
}

// Whoever is in between, and has a certificate of his own, gets neither side to believe the other is there, even when the
// agent has no pin.
func TestNobodyIsInBetween(t *testing.T) {
	_, address, _ := listen(t, &echo{})
	cert, _, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var relayed bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		agent, err := ln.Accept()
		if err != nil {
			return
		}
		defer agent.Close()
		coordinator, err := tls.Dial("tcp", strings.TrimPrefix(address, "tls://"), &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer coordinator.Close()
		line, _ := bufio.NewReader(agent).ReadBytes('\n')
		relayed.Write(line)
		_, _ = coordinator.Write(line)
		line, _ = bufio.NewReader(coordinator).ReadBytes('\n')
		_, _ = agent.Write(line)
	}()
	if _, err := Dial(t.Context(), "tls://"+ln.Addr().String(), "", token); err == nil || !strings.Contains(err.Error(), "are not the same") {
		t.Error(err)
	}
	ln.Close()
	<-done
	if relayed.Len() == 0 || strings.Contains(relayed.String(), token) {
		t.Errorf("it heard %q", &relayed)
	}
}

// A coordinator that has the address now and speaks no TLS is told nothing.
func TestNothingIsSaidInPlainText(t *testing.T) {
	_, pin, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	ln, heard := listenPlain(t, `INFO {"server_id":"x","version":"2.10.0","proto":1,"max_payload":1048576}`+"\r\n")
	if _, err := Dial(t.Context(), "tls://"+ln, pin, "the secret of this run"); err == nil {
		t.Error("it has joined")
	}
	if text := <-heard; bytes.Contains(text, []byte("secret")) {
		t.Errorf("it was told %q", text)
	}
	ln, heard = listenPlain(t, `INFO {"server_id":"x","version":"2.10.0","proto":1,"max_payload":1048576}`+"\r\n")
	if _, err := Enter(t.Context(), NATS{URL: "tls://" + ln + "/r", Secret: "the secret of the server"}); err == nil || !strings.Contains(err.Error(), "it has no TLS") {
		t.Error(err)
	}
	if text := <-heard; bytes.Contains(text, []byte("secret")) {
		t.Errorf("it was told %q", text)
	}
}

// listenPlain greets one client, and returns what it says until it leaves.
func listenPlain(t *testing.T, greeting string) (address string, heard <-chan []byte) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	said := make(chan []byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			said <- nil
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, greeting)
		_ = c.SetDeadline(time.Now().Add(time.Second))
		text, _ := io.ReadAll(c)
		said <- text
	}()
	return ln.Addr().String(), said
}

// However many strangers hold connections, an agent gets in.
func TestStrangersMakeRoom(t *testing.T) {
	_, address, pin := listen(t, &echo{})
	var strangers []net.Conn
	for range maxStrangers + 10 {
		c, err := net.Dial("tcp", strings.TrimPrefix(address, "tls://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		strangers = append(strangers, c)
	}
	_ = strangers[0].SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := strangers[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest stranger: %v", err)
	}
	l, err := Dial(t.Context(), address, pin, token)
	if err != nil {
		t.Fatal(err)
	}
	converse(t, l)
	l.Close("")
}

// A stranger who says much, or something else, is not listened to.
func TestFirstWords(t *testing.T) {
	_, address, _ := listen(t, &echo{})
	for _, words := range []string{strings.Repeat("x", 100_000), "{}\n", `{"kind":"hello"}` + "\n", `{"kind":"proof","data":7}` + "\n"} {
		c, err := tls.Dial("tcp", strings.TrimPrefix(address, "tls://"), &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, words)
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if text, err := io.ReadAll(c); len(text) > 0 || errors.Is(err, errSilent) {
			t.Errorf("%.20q: it says %q, %v", words, text, err)
		}
		c.Close()
	}
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		s := newStream(ours)
		begun := time.Now()
		if _, err := s.Receive(); !errors.Is(err, errSilent) || time.Since(begun) != Silence {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		s.Close("")
	})
}

// Whoever does not read does not hold more than a bound.
func TestBacklog(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := newStream(ours)
	text := strings.Repeat("x", maxMessage/2)
	for sent := 0; ; sent += len(text) {
		if sent > 2*maxBacklog {
			t.Fatal("all of it waits")
		}
		if err := s.Send("k", text); err != nil {
			if !errors.Is(err, errBacklog) {
				t.Error(err)
			}
			break
		}
	}
	if _, err := s.Receive(); !errors.Is(err, errBacklog) {
		t.Error(err)
	}
	if err := s.Send("k", strings.Repeat("x", maxMessage)); !errors.Is(err, errTooLarge) {
		t.Error(err)
	}
}

// What is received ends, is no larger than allowed, and is what it says it is.
func FuzzReceive(f *testing.F) {
	for _, text := range []string{"", "\n", "{}\n", `{"kind":"k","data":[1]}` + "\n", `{"kind":"gone","data":"why"}` + "\n", `{"kind":"k"` + "\n" + `}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(text)
			theirs.Close()
		}()
		s := newStream(ours)
		defer ours.Close()
		for range len(text) + 1 {
			m, err := s.Receive()
			if err != nil {
				return
			}
			if m.Kind == "" || m.Kind == kindGone || len(m.Data) > maxFirst {
				t.Fatalf("%+v", m)
			}
			line, err := encode(m.Kind, m.Data)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := decode(line); err != nil || again.Kind != m.Kind {
				t.Fatalf("%+v, again %+v, %v", m, again, err)
			}
		}
		t.Fatal("there is no end")
	})
}

func startNATS(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server is not ready")
	}
	return "nats://" + s.Addr().String()
}

func TestLinkByNATS(t *testing.T) {
	url := startNATS(t, &server.Options{Authorization: "t0ken"})
	e := &echo{}
	d, err := Serve(NATS{URL: url, Secret: "t0ken"}, e.events())
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(d.Flags(), "--bus ")
	l, err := Enter(t.Context(), NATS{URL: at, Secret: "t0ken"})
	if err != nil {
		t.Fatal(err)
	}
	converse(t, l)
	l.Close("no reason")
	e.awaitGone(t, "no reason")

	if l, err = Enter(t.Context(), NATS{URL: at, Secret: "t0ken"}); err != nil {
		t.Fatal(err)
	}
	converse(t, l)
	if err := l.Send("k", strings.Repeat("x", 2<<20)); err == nil || !strings.Contains(err.Error(), "max_payload: 1048576") {
		t.Error(err)
	}
	for _, c := range []struct {
		n    NATS
		want string
	}{
		{NATS{URL: at, Secret: "guess"}, "uthorization"},
		{NATS{URL: url + "/other", Secret: "t0ken"}, "there is none of that name"},
		{NATS{URL: url, Secret: "t0ken"}, "does not name the run"},
		{NATS{URL: url + "/a.b", Secret: "t0ken"}, `"a.b" is no name of a run`},
		{NATS{URL: strings.Replace(at, "nats://", "nats://user:pw@", 1)}, "has a secret in it"},
		{NATS{URL: "http://127.0.0.1:1/r"}, "is not of the form nats://HOST:PORT/RUN"},
		{NATS{URL: at, Secret: "t0ken", CA: "nothing.pem"}, "nothing.pem"},
	} {
		if _, err := Enter(t.Context(), c.n); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.n, err)
		}
	}
	if _, err := Serve(NATS{URL: at, Secret: "t0ken"}, e.events()); err == nil || !strings.Contains(err.Error(), "another load test is called") {
		t.Error(err)
	}
	d.Close()
	if m, err := l.Receive(); err == nil || !strings.Contains(err.Error(), "the load test is over") {
		t.Errorf("%+v, %v", m, err)
	}
	l.Close("")
}

// A server of another machine must have TLS, by a certificate that is trusted.
func TestNATSOverTLS(t *testing.T) {
	cert, _, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	url := startNATS(t, &server.Options{
		Username: "u", Password: "p", TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}, TLSTimeout: 60,
	})
	_, err = Serve(NATS{URL: strings.Replace(url, "nats:", "tls:", 1), Secret: "u:p"}, Events{})
	var unknown *tls.CertificateVerificationError
	if !errors.As(err, &unknown) {
		t.Error(err)
	}
	for _, host := range []string{"192.0.2.1", "nats.example"} {
		if server, _, err := (NATS{URL: fmt.Sprintf("nats://%s:4222/r", host)}).parse(); err != nil || !mustSecure(server) {
			t.Errorf("%s: %v", host, err)
		}
	}
}
