package loadtest

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// TokenVariable is the environment variable with the token that lets an agent of another machine
// join. Local agents get theirs through an inherited descriptor; nobody takes it from a command line.
const TokenVariable = "ERLMCP_LOADTEST_TOKEN"

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
		TLSTimeout: wire.Timeout.Seconds(), AuthTimeout: 2 * wire.Timeout.Seconds(), MaxConn: agents + maxStrangers,
		MaxPayload: maxMessage, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start the agents' bus: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(wire.Timeout) {
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

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
