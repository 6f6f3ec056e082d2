package bus

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
)

// Both ends of a TLS connection know the token, and prove it without saying it: by a hash over it and what only the two
// ends of this very connection have in common (RFC 8446, 7.5; RFC 9266). Whoever is in between has another connection on
// each side, and so neither proof. The agent begins: a stranger gets nothing to guess by.

// LeastSecret is how many bytes a token must have that replaces a pin: nobody guesses it from the proof of an agent.
const LeastSecret = 32

// side is who proves.
type side string

const (
	agentSide       side = "agent"
	coordinatorSide side = "coordinator"
)

// proof is what one end shows the other.
func proof(conn *tls.Conn, token string, who side) ([]byte, error) {
	state := conn.ConnectionState()
	bound, err := state.ExportKeyingMaterial("EXPORTER-erlmcp-load-test", []byte(who), sha256.Size)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, []byte(token))
	h.Write(bound)
	return h.Sum(nil), nil
}

// check requires that the other end knows the token.
func check(conn *tls.Conn, token string, who side, shown []byte) error {
	want, err := proof(conn, token, who)
	if err != nil {
		return err
	}
	if !hmac.Equal(shown, want) {
		return errors.New("the secrets of load test and agent are not the same")
	}
	return nil
}
