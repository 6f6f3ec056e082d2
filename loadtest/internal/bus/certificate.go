package bus

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
)

// ErrNotPinned says that whoever answers is not the coordinator.
var ErrNotPinned = errors.New("its certificate is not the pinned one: it is not this load test, or not any more")

// newCertificate makes the certificate of a run.
func newCertificate() (cert tls.Certificate, pin string, err error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return cert, "", err
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes([]byte(rand.Text()[:16])),
		Subject:      pkix.Name{CommonName: "erlmcp load test"},
		NotBefore:    time.Now().Add(-24 * time.Hour), // clocks differ, and the pin is what counts
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, PinOf(der), err
}

// pinned is how to speak TLS to whoever has the pinned certificate, and to nobody else. Without a pin it is anybody, who
// has to prove that he knows the token then.
func pinned(pin string) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // #nosec G402 -- pin and proof say more than an authority could
	}
	if pin == "" {
		return c, nil
	}
	sum, err := ParsePin(pin)
	if err != nil {
		return nil, err
	}
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) > 0 {
			if own := sha256.Sum256(s.PeerCertificates[0].Raw); bytes.Equal(own[:], sum) {
				return nil
			}
		}
		return ErrNotPinned
	}
	return c, nil
}
