package proxy

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"time"
)

// tlsEnd is what a worker has for TLS.
type tlsEnd struct {
	config    *tls.Config    // nil without a certificate; replaced as a whole, handshakes go on with theirs
	secret    []byte         // of session tickets
	day       int64          // of the present ticket key
	shaking   int            // goroutines of handshakes
	crowd     handshakeCrowd // handshakes under way, by source
	out       []byte         // ciphertext on its way, see tlsWire
	complaint int64          // when a failed handshake was last logged
	cert, key []byte         // what config was made of
}

// apply takes over a specification.
func (e *tlsEnd) apply(s *WorkerSpec) error {
	if len(s.Certificate) == 0 {
		e.config = nil
		return nil
	}
	if e.config != nil && bytes.Equal(e.secret, s.Key) && bytes.Equal(e.cert, s.Certificate) && bytes.Equal(e.key, s.CertificateKey) {
		return nil
	}
	pair, err := tls.X509KeyPair(s.Certificate, s.CertificateKey)
	if err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	e.config = &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}
	e.secret, e.cert, e.key = s.Key, s.Certificate, s.CertificateKey
	e.day = -1
	e.rotate(time.Now())
	return nil
}

const secondsPerDay = 24 * 60 * 60

// rotate has new tickets encrypted with the key of the day. Those of yesterday are still accepted. All
// workers of all balancers that share the secret agree, whenever they were started.
func (e *tlsEnd) rotate(now time.Time) {
	day := now.Unix() / secondsPerDay
	if e.config == nil || e.day == day {
		return
	}
	e.day = day
	e.config.SetSessionTicketKeys([][32]byte{ticketKey(e.secret, day), ticketKey(e.secret, day-1)})
}

// ticketKey derives the key of session tickets of a day since 1970.
func ticketKey(secret []byte, day int64) (key [32]byte) {
	derived, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("erlmcp tls session tickets, day %d", day), len(key))
	if err != nil {
		panic("proxy: a ticket key: " + err.Error()) // the length is within bounds
	}
	copy(key[:], derived)
	return key
}
