package loadtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Agents know their coordinator by its certificate, which is made for one run: its pin goes with the address, and is no
// secret. Nothing is said to anybody else, least of all the token.

// pinPrefix names the hash that a pin is: of the certificate as it is sent (DER).
const pinPrefix = "sha256:"

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
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pinOf(der), err
}

func pinOf(der []byte) string {
	sum := sha256.Sum256(der)
	return pinPrefix + hex.EncodeToString(sum[:])
}

// ParsePin reads the hash in a pin.
func ParsePin(pin string) (sum []byte, err error) {
	digits, ok := strings.CutPrefix(pin, pinPrefix)
	if sum, err = hex.DecodeString(digits); err != nil || !ok || len(sum) != sha256.Size {
		return nil, fmt.Errorf("%q is no pin: it is %s and %d hexadecimal digits", pin, pinPrefix, 2*sha256.Size)
	}
	return sum, nil
}

// pinned is how to speak TLS to whoever has the pinned certificate, and to nobody else.
func pinned(pin string) (*tls.Config, error) {
	sum, err := ParsePin(pin)
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
