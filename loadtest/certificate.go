package loadtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

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
