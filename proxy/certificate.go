package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/charmbracelet/log"
)

// certificate is the pair of the https listener as the master has read it.
type certificate struct {
	cert, key []byte // PEM
	leaf      *x509.Certificate
	exposed   bool // others than owner and group may read the key
}

// CertificateStats is the certificate that https clients get.
type CertificateStats struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names"` // hosts and IP addresses it is for
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

const certificateAdvice = "erlmcp lb cert --self-signed makes a pair for development"

// loadCertificate reads the pair that s names. It is nil when https is off.
func loadCertificate(s *Spec) (*certificate, error) {
	if s.Listen.HTTPS == "" {
		return nil, nil
	}
	p, err := readCertificate(s.TLS)
	if err != nil {
		return nil, err
	}
	if err := p.parse(s.TLS); err != nil {
		return nil, err
	}
	return p, nil
}

// readCertificate reads the files without looking into them.
func readCertificate(t TLS) (p *certificate, err error) {
	p = new(certificate)
	if p.cert, err = os.ReadFile(t.Cert); err != nil {
		return nil, &StartError{fmt.Errorf("lb.tls.cert: %w", err), certificateAdvice}
	}
	if p.key, err = os.ReadFile(t.Key); err != nil {
		return nil, &StartError{fmt.Errorf("lb.tls.key: %w", err), certificateAdvice}
	}
	if info, err := os.Stat(t.Key); err == nil {
		p.exposed = info.Mode().Perm()&0o007 != 0
	}
	return p, nil
}

// parse checks that the pair is one.
func (p *certificate) parse(t TLS) error {
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err == nil {
		p.leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return &StartError{fmt.Errorf("lb.tls: %s with key %s: %w", t.Cert, t.Key, err), certificateAdvice}
	}
	return nil
}

func (p *certificate) same(other *certificate) bool {
	return p != nil && other != nil && bytes.Equal(p.cert, other.cert) && bytes.Equal(p.key, other.key)
}

// stats describes the certificate; nil if there is none.
func (p *certificate) stats() *CertificateStats {
	if p == nil {
		return nil
	}
	s := &CertificateStats{Subject: p.leaf.Subject.String(), Names: []string{}, NotBefore: p.leaf.NotBefore, NotAfter: p.leaf.NotAfter}
	s.Names = append(s.Names, p.leaf.DNSNames...)
	for _, ip := range p.leaf.IPAddresses {
		s.Names = append(s.Names, ip.String())
	}
	return s
}

// expirySoon is how long before its end a certificate is warned of.
const expirySoon = 14 * 24 * time.Hour

// doubt logs what is wrong with a pair that can be served all the same, when it replaces another one.
func (p *certificate) doubt(logger *log.Logger, old *effective) {
	if p == nil || old != nil && p.same(old.certificate) {
		return
	}
	switch left := time.Until(p.leaf.NotAfter); {
	case left <= 0:
		logger.Warn("the certificate has expired: clients will refuse it", "not_after", p.leaf.NotAfter)
	case left < expirySoon:
		logger.Warn("the certificate expires soon", "not_after", p.leaf.NotAfter)
	}
	if time.Now().Before(p.leaf.NotBefore) {
		logger.Warn("the certificate is not valid yet", "not_before", p.leaf.NotBefore)
	}
	if p.exposed {
		logger.Warn("everybody on this machine may read the key of the certificate: chmod o= it")
	}
}
