package web

import (
	"bytes"
	"crypto/tls"
	"fmt"

	"github.com/erlmcp/erlmcp/internal/crowd"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// tlsEnd is what a worker has for TLS.
type tlsEnd struct {
	config    *tls.Config                           // nil without a certificate; replaced as a whole, handshakes go on with theirs
	shaking   int                                   // goroutines of handshakes
	crowd     crowd.Crowd[board.SlotID, *handshake] // handshakes under way, by source
	out       []byte                                // ciphertext on its way, see tlslayer
	complaint int64                                 // when a failed handshake was last logged
	cert, key []byte                                // what config was made of
}

// What Mozilla's "intermediate" asks for (https://wiki.mozilla.org/Security/Server_Side_TLS), as far as crypto/tls
// has it, and beyond that the key exchange that holds against quantum computers. Suites of TLS 1.3 are all good.
var (
	tlsSuites = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	tlsCurves = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}
)

// apply takes over a specification.
func (e *tlsEnd) apply(s *wire.WorkerSpec) error {
	if len(s.Certificate) == 0 {
		e.config = nil
		return nil
	}
	if e.config == nil || !bytes.Equal(e.cert, s.Certificate) || !bytes.Equal(e.key, s.CertificateKey) {
		pair, err := tls.X509KeyPair(s.Certificate, s.CertificateKey)
		if err != nil {
			return fmt.Errorf("the certificate: %w", err)
		}
		e.config = &tls.Config{
			Certificates:     []tls.Certificate{pair},
			MinVersion:       tls.VersionTLS12,
			CipherSuites:     tlsSuites,
			CurvePreferences: tlsCurves,
			NextProtos:       []string{"http/1.1"},
		}
		e.cert, e.key = s.Certificate, s.CertificateKey
	}
	var keys [][wire.TicketKeySize]byte
	for _, k := range s.TicketKeys {
		keys = append(keys, [wire.TicketKeySize]byte(k))
	}
	if len(keys) > 0 {
		e.config.SetSessionTicketKeys(keys)
	}
	return nil
}
