package bus

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxStrangers is how many connections there may be that have not shown yet that they know the token. The oldest one
// makes room: an agent shows it at once.
const maxStrangers = 64

// Kinds of what comes before all else.
const (
	kindProof   = "proof"
	kindRefused = "refused"
)

// listener is the door that goes straight to the coordinator.
type listener struct {
	net     net.Listener
	token   string
	pin     string
	room    int // for agents, also those that are told that they take no part
	secure  *tls.Config
	events  Events
	serving sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	strangers []net.Conn // the oldest first
	agents    map[*stream]bool
}

// Listen opens a door at an address (port 0: any) for so many agents. Only who knows the token gets in, within TLS.
func Listen(address, token string, agents int, e Events) (Door, error) {
	if token == "" {
		return nil, errors.New("agents of other machines need a secret to join with")
	}
	cert, pin, err := newCertificate()
	if err != nil {
		return nil, fmt.Errorf("make a certificate for the agents: %w", err)
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("await agents: %w", err)
	}
	l := &listener{
		net: ln, token: token, pin: pin, room: agents + maxStrangers, events: e, agents: make(map[*stream]bool),
		secure: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true},
	}
	l.serving.Go(l.accept)
	return l, nil
}

// Flags implements [Door].
func (l *listener) Flags() string {
	at := l.net.Addr().(*net.TCPAddr)
	host := at.IP.String()
	if at.IP.IsUnspecified() { // any address of this machine: its name leads to one, if names work here
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return fmt.Sprintf("--join tls://%s --pin %s", net.JoinHostPort(host, fmt.Sprint(at.Port)), l.pin)
}

// Close implements [Door].
func (l *listener) Close() {
	l.mu.Lock()
	l.closed = true
	_ = l.net.Close()
	for _, c := range l.strangers {
		_ = c.Close()
	}
	for s := range l.agents {
		_ = s.conn.Close()
	}
	l.mu.Unlock()
	l.serving.Wait()
}

func (l *listener) accept() {
	for {
		c, err := l.net.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptors: one that is freed is waited for
			time.Sleep(100 * time.Millisecond)
		case l.seat(c):
			l.serving.Go(func() { l.serve(c) })
		}
	}
}

// seat takes a stranger in.
func (l *listener) seat(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return false
	}
	if len(l.strangers) == maxStrangers {
		_ = l.strangers[0].Close()
		l.strangers = l.strangers[1:]
	}
	l.strangers = append(l.strangers, c)
	return true
}

// known says that a stranger is an agent, or has gone (nil). It reports whether there is room.
func (l *listener) known(c net.Conn, s *stream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers = slices.DeleteFunc(l.strangers, func(o net.Conn) bool { return o == c })
	if s == nil || l.closed || len(l.agents) == l.room {
		return false
	}
	l.agents[s] = true
	return true
}

func (l *listener) serve(c net.Conn) {
	defer c.Close()
	s, err := l.admit(c)
	if err != nil {
		l.known(c, nil)
		return
	}
	if !l.known(c, s) {
		return
	}
	for {
		m, err := s.Receive()
		if err != nil {
			s.Close(err.Error())
			l.mu.Lock()
			delete(l.agents, s)
			l.mu.Unlock()
			l.events.Gone(s, err)
			return
		}
		l.events.Message(s, m)
	}
}

// admit has a stranger show that he knows the token, soon and in few bytes.
func (l *listener) admit(c net.Conn) (*stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	secure := tls.Server(c, l.secure)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	s := newStream(secure)
	shown, err := s.receiveProof()
	if err != nil {
		return nil, err
	}
	if err := check(secure, l.token, agentSide, shown); err != nil {
		_ = s.sendNow(kindRefused, err.Error())
		return nil, err
	}
	own, err := proof(secure, l.token, coordinatorSide)
	if err != nil {
		return nil, err
	}
	s.most = maxMessage
	err = s.sendNow(kindProof, own)
	return s, err
}

// Dial joins a coordinator at tls://HOST:PORT. The pin may be empty if the token is long enough to stand for it.
func Dial(ctx context.Context, address, pin, token string) (Link, error) {
	hostPort, ok := strings.CutPrefix(address, "tls://")
	if !ok {
		return nil, fmt.Errorf("%q is not of the form tls://HOST:PORT", address)
	}
	if pin == "" && len(token) < LeastSecret {
		return nil, fmt.Errorf("without a pin the secret must have at least %d characters", LeastSecret)
	}
	c, err := pinned(pin)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return nil, fmt.Errorf("join the load test at %s: %w", address, err)
	}
	s := newStream(conn)
	if err := s.introduce(conn.(*tls.Conn), token); err != nil {
		s.Close("")
		return nil, fmt.Errorf("join the load test at %s: %w", address, err)
	}
	s.most = maxMessage
	return s, nil
}

// introduce is an agent's half of admit.
func (s *stream) introduce(conn *tls.Conn, token string) error {
	own, err := proof(conn, token, agentSide)
	if err != nil {
		return err
	}
	if err := s.sendNow(kindProof, own); err != nil {
		return err
	}
	shown, err := s.receiveProof()
	if err != nil {
		return err
	}
	return check(conn, token, coordinatorSide, shown)
}

func (s *stream) receiveProof() (shown []byte, err error) {
	m, err := s.Receive()
	if err != nil {
		return nil, err
	}
	switch m.Kind {
	case kindProof:
		err = json.Unmarshal(m.Data, &shown)
	case kindRefused:
		var why string
		if err = json.Unmarshal(m.Data, &why); err == nil {
			err = errors.New(why)
		}
	default:
		err = fmt.Errorf("it says %q first", m.Kind)
	}
	return shown, err
}

// sendNow writes a message before anything else is sent.
func (s *stream) sendNow(kind string, data any) error {
	line, err := encode(kind, data)
	if err != nil {
		return err
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err = s.conn.Write(line)
	return err
}
