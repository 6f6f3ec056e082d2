package bus

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// NATS is a server of that kind, which exists, and the run on it.
type NATS struct {
	// URL is nats://HOST:PORT/RUN, or tls://. Runs of other names are not heard, nor disturbed.
	URL string
	// Secret is what the server asks for: USER:PASSWORD, a token, or the text of a credentials file; empty for none.
	Secret string
	// CA is a file of certificates (PEM) that sign the server's; empty for the system's.
	CA string
}

// Subjects of a run: of its coordinator, and in both directions of each link, which has an id of its own.
const (
	subjects    = "erlmcp.loadtest."
	subjectHere = ".coordinator"
	subjectUp   = ".up."
	subjectDown = ".down."
)

var runName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Parse says where the server is and what the run is called, "" if the URL does not say.
func (n NATS) parse() (server *url.URL, run string, err error) {
	u, err := url.Parse(n.URL)
	if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
		return nil, "", fmt.Errorf("%q is not of the form nats://HOST:PORT/RUN", n.URL)
	}
	if u.User != nil {
		return nil, "", errors.New("the URL of the NATS server has a secret in it; give that in a file or in the environment")
	}
	run = strings.Trim(u.Path, "/")
	if run != "" && !runName.MatchString(run) {
		return nil, "", fmt.Errorf("%q is no name of a run: up to 64 letters, digits, _ and -", run)
	}
	u.Path = ""
	return u, run, nil
}

// CheckNATS says what is wrong with the URL of a NATS server.
func CheckNATS(url string) error {
	_, _, err := NATS{URL: url}.parse()
	return err
}

// connect joins the server. closed is called when the connection has ended for good.
func (n NATS) connect(server *url.URL, closed func(error)) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Timeout(patience), nats.Name("erlmcp load test"), nats.ReconnectWait(time.Second / 2), nats.MaxReconnects(int(2 * Silence / time.Second)),
		nats.ReconnectBufSize(maxBacklog), nats.ClosedHandler(func(c *nats.Conn) { closed(c.LastError()) }),
	}
	if mustSecure(server) || n.CA != "" {
		c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: server.Hostname()}
		if n.CA != "" {
			pem, err := os.ReadFile(n.CA)
			if err != nil {
				return nil, err
			}
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s: no certificate (PEM) in it", n.CA)
			}
		}
		options = append(options, nats.Secure(c))
	}
	switch user, password, two := strings.Cut(n.Secret, ":"); {
	case n.Secret == "":
	case strings.Contains(n.Secret, "BEGIN NATS USER JWT"):
		options = append(options, nats.UserCredentialBytes([]byte(n.Secret)))
	case two:
		options = append(options, nats.UserInfo(user, password))
	default:
		options = append(options, nats.Token(n.Secret))
	}
	conn, err := nats.Connect(server.String(), options...)
	if errors.Is(err, nats.ErrSecureConnWanted) {
		err = errors.New("it has no TLS, which everything but a server on this machine must have")
	}
	if err != nil {
		return nil, fmt.Errorf("join the NATS server at %s: %w", server, err)
	}
	return conn, nil
}

// mustSecure reports whether there has to be TLS. Without it nothing leaves this machine.
func mustSecure(server *url.URL) bool {
	a, err := netip.ParseAddr(server.Hostname())
	return server.Scheme == "tls" || server.Hostname() != "localhost" && (err != nil || !a.IsLoopback())
}

// publish sends a message through a server.
func publish(conn *nats.Conn, subject, kind string, data any) error {
	line, err := encode(kind, data)
	if err != nil {
		return err
	}
	if most := conn.MaxPayload(); int64(len(line)) > most {
		return fmt.Errorf("a message of %d bytes is more than the NATS server takes (max_payload: %d)", len(line), most)
	}
	return conn.Publish(subject, line)
}

// board is the door at a NATS server.
type board struct {
	conn   *nats.Conn
	url    string
	run    string
	events Events
	ended  chan struct{} // closed with the connection

	mu      sync.Mutex
	members map[string]*member // by id of the link
}

// member is an agent at the other end of the server.
type member struct {
	board *board
	id    string

	one   sync.Mutex // held while the coordinator is told
	gone  bool
	alive *time.Timer // ends the link when nothing is heard
}

// Serve opens a door at a NATS server. A run without a name gets one.
func Serve(n NATS, e Events) (Door, error) {
	server, run, err := n.parse()
	if err != nil {
		return nil, err
	}
	if run == "" {
		run = strings.ToLower(rand.Text()[:12])
	}
	b := &board{url: server.String() + "/" + run, run: run, events: e, ended: make(chan struct{}), members: make(map[string]*member)}
	b.conn, err = n.connect(server, func(error) { close(b.ended) })
	if err != nil {
		return nil, err
	}
	if err := b.open(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *board) open() error {
	here := subjects + b.run + subjectHere
	switch _, err := b.conn.Request(here, nil, patience); {
	case err == nil:
		return fmt.Errorf("another load test is called %s at %s: give this one another name", b.run, b.url)
	case !errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("ask the NATS server for %s: %w", here, err)
	}
	if _, err := b.conn.Subscribe(here, func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		return err
	}
	up := subjects + b.run + subjectUp
	if _, err := b.conn.Subscribe(up+"*", func(m *nats.Msg) { b.heard(m.Subject[len(up):], m.Data) }); err != nil {
		return err
	}
	return b.conn.FlushTimeout(patience)
}

// heard is called by one goroutine.
func (b *board) heard(id string, data []byte) {
	m, err := decode(data)
	var gone *goneError
	if err != nil && !errors.As(err, &gone) {
		return // a stranger's, who has access to the server
	}
	b.mu.Lock()
	who := b.members[id]
	if who == nil && gone == nil && len(b.members) < maxMembers {
		who = &member{board: b, id: id}
		who.alive = time.AfterFunc(Silence, func() { who.leave(errSilent) })
		b.members[id] = who
	}
	b.mu.Unlock()
	switch {
	case who == nil:
	case gone != nil:
		who.leave(gone)
	default:
		who.alive.Reset(Silence)
		who.one.Lock()
		defer who.one.Unlock()
		if !who.gone {
			b.events.Message(who, m)
		}
	}
}

// maxMembers bounds who can be heard of.
const maxMembers = 2000

// leave ends the link. What comes later under its id is of a new one.
func (m *member) leave(why error) {
	m.alive.Stop()
	m.board.mu.Lock()
	if m.board.members[m.id] == m {
		delete(m.board.members, m.id)
	}
	m.board.mu.Unlock()
	m.one.Lock()
	defer m.one.Unlock()
	if !m.gone {
		m.gone = true
		m.board.events.Gone(m, why)
	}
}

// Send implements [Peer].
func (m *member) Send(kind string, data any) error {
	return publish(m.board.conn, subjects+m.board.run+subjectDown+m.id, kind, data)
}

// Close implements [Peer].
func (m *member) Close(why string) { _ = m.Send(kindGone, why) }

// Flags implements [Door].
func (b *board) Flags() string { return "--bus " + b.url }

// Close implements [Door].
func (b *board) Close() {
	b.mu.Lock()
	for _, m := range b.members {
		m.alive.Stop()
		m.Close("the load test is over")
	}
	b.mu.Unlock()
	_ = b.conn.FlushTimeout(lastWords)
	b.conn.Close()
	<-b.ended
}

// member's end of the link, in the agent.
type seat struct {
	conn  *nats.Conn
	up    string
	heard *nats.Subscription
	ended chan struct{} // closed with the connection
}

// Enter joins the run that a URL names at a NATS server.
func Enter(ctx context.Context, n NATS) (Link, error) {
	server, run, err := n.parse()
	if err != nil {
		return nil, err
	}
	if run == "" {
		return nil, errors.New("the URL does not name the run: nats://HOST:PORT/RUN, which the load test prints when it waits for agents")
	}
	s := &seat{ended: make(chan struct{})}
	if s.conn, err = n.connect(server, func(error) { close(s.ended) }); err != nil {
		return nil, err
	}
	if err := s.sit(ctx, run); err != nil {
		s.conn.Close()
		<-s.ended
		return nil, fmt.Errorf("join the load test %s at %s: %w", run, server, err)
	}
	return s, nil
}

func (s *seat) sit(ctx context.Context, run string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := s.conn.RequestWithContext(ctx, subjects+run+subjectHere, nil); errors.Is(err, nats.ErrNoResponders) {
		return errors.New("there is none of that name")
	} else if err != nil {
		return err
	}
	id := rand.Text()
	s.up = subjects + run + subjectUp + id
	s.heard, err = s.conn.SubscribeSync(subjects + run + subjectDown + id)
	return err
}

// Send implements [Peer].
func (s *seat) Send(kind string, data any) error { return publish(s.conn, s.up, kind, data) }

// Receive implements [Link].
func (s *seat) Receive() (Message, error) {
	got, err := s.heard.NextMsg(Silence)
	if errors.Is(err, nats.ErrTimeout) {
		return Message{}, errSilent
	}
	if err != nil {
		return Message{}, err
	}
	return decode(got.Data)
}

// Close implements [Peer].
func (s *seat) Close(why string) {
	if s.Send(kindGone, why) == nil {
		_ = s.conn.FlushTimeout(lastWords)
	}
	s.conn.Close()
	<-s.ended
}
