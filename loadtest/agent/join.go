package agent

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// errBusLost ends an agent whose coordinator has gone.
var errBusLost = errors.New("the coordinator of the load test has gone")

// joinBus connects an agent. lost is called once when the connection ends, for any reason.
func joinBus(j wire.Join, lost func()) (*nats.Conn, error) {
	secure, err := pinned(j.Pin)
	if err != nil {
		return nil, err
	}
	conn, err := nats.Connect(j.URL, nats.Secure(secure), nats.TLSHandshakeFirst(), nats.Token(j.Token), nats.NoReconnect(), nats.Name("agent"),
		nats.Timeout(wire.Timeout), nats.ClosedHandler(func(*nats.Conn) { lost() }))
	if err != nil {
		return nil, fmt.Errorf("join the load test at %s: %w", j.URL, err)
	}
	return conn, nil
}

// ErrNotPinned says that whoever answers is not the coordinator.
var ErrNotPinned = errors.New("its certificate is not the pinned one: it is not this load test, or not any more")

// CheckPin says what is wrong with a pin that an agent was given.
func CheckPin(pin string) error {
	_, err := wire.ParsePin(pin)
	return err
}

// pinned is how to speak TLS to whoever has the pinned certificate, and to nobody else.
func pinned(pin string) (*tls.Config, error) {
	sum, err := wire.ParsePin(pin)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // #nosec G402 -- the pin says more than an authority could
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 {
				if own := sha256.Sum256(s.PeerCertificates[0].Raw); bytes.Equal(own[:], sum) {
					return nil
				}
			}
			return ErrNotPinned
		},
	}, nil
}
