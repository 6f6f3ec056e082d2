package loadtest

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// TokenVariable is the environment variable with the token that lets an agent of another machine
// join. Local agents get theirs through an inherited descriptor; nobody takes it from a command line.
const TokenVariable = "ERLMCP_LOADTEST_TOKEN"

// busPatience bounds how long anything on the bus may take that takes no time.
const busPatience = 10 * time.Second

// maxMessage holds the histograms of an agent.
const maxMessage = 8 << 20

// maxStrangers is how many connections there may be beside those of agents.
const maxStrangers = 64

// bus is the coordinator's NATS server, in this process, and its own connection to it.
type bus struct {
	server *server.Server
	conn   *nats.Conn
	token  string
	pin    string // of its certificate
}

// startBus listens on an address (port 0: any) for so many agents. Only who knows the token gets in, within TLS; an
// empty token is replaced by a random one.
func startBus(listen, token string, agents int) (*bus, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	if token == "" {
		token = randomHex(32)
	}
	cert, pin, err := busCertificate()
	if err != nil {
		return nil, fmt.Errorf("make a certificate for the agents' bus: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "erlmcp-loadtest", Host: host, Port: number, Authorization: token,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}, TLSHandshakeFirst: true,
		TLSTimeout: busPatience.Seconds(), AuthTimeout: 2 * busPatience.Seconds(), MaxConn: agents + maxStrangers,
		MaxPayload: maxMessage, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start the agents' bus: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(busPatience) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("start the agents' bus: cannot listen on %s", listen)
	}
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.Token(token), nats.NoReconnect(), nats.Name("coordinator"))
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("join the agents' bus: %w", err)
	}
	return &bus{s, conn, token, pin}, nil
}

// url is where agents join.
func (b *bus) url() string { return "tls://" + b.server.Addr().String() }

func (b *bus) close() {
	b.conn.Close()
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

// errBusLost ends an agent whose coordinator has gone.
var errBusLost = errors.New("the coordinator of the load test has gone")

// joinBus connects an agent. lost is called once when the connection ends, for any reason.
func joinBus(j join, lost func()) (*nats.Conn, error) {
	secure, err := pinned(j.Pin)
	if err != nil {
		return nil, err
	}
	conn, err := nats.Connect(j.URL, nats.Secure(secure), nats.TLSHandshakeFirst(), nats.Token(j.Token), nats.NoReconnect(), nats.Name("agent"),
		nats.Timeout(busPatience), nats.ClosedHandler(func(*nats.Conn) { lost() }))
	if err != nil {
		return nil, fmt.Errorf("join the load test at %s: %w", j.URL, err)
	}
	return conn, nil
}

// request sends a question and reads the answer.
func request(conn *nats.Conn, subject string, question, answer any) error {
	data, err := json.Marshal(question)
	if err != nil {
		return err
	}
	m, err := conn.Request(subject, data, busPatience)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	return nil
}

// respond answers a question. A failure shows as a time-out at the other end.
func respond(m *nats.Msg, answer any) {
	if data, err := json.Marshal(answer); err == nil {
		_ = m.Respond(data)
	}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
