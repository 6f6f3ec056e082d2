package loadtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// errNotPinned says that whoever answers is not the coordinator.
var errNotPinned = errors.New("its certificate is not the pinned one: it is not this load test, or not any more")

// busCertificate makes the certificate of a run.
func busCertificate() (cert tls.Certificate, pin string, err error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return cert, "", err
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes([]byte(randomHex(8))),
		Subject:      pkix.Name{CommonName: "erlmcp load test"},
		NotBefore:    time.Now().Add(-24 * time.Hour), // clocks differ, and the pin is what counts
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, wire.PinOf(der), err
}

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
			return errNotPinned
		},
	}, nil
}
