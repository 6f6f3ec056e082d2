package master

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/proxy"
)

// certificate is the pair of the https listener as the master has read it.
type certificate struct {
	cert, key []byte // PEM
	leaf      *x509.Certificate
	exposed   bool // others than owner and group may read the key
}

const certificateAdvice = "erlmcp lb cert --self-signed makes a pair for development"

// loadCertificate reads the pair that s names. It is nil when https is off.
func loadCertificate(s *proxy.Spec) (*certificate, error) {
	if s.Listen.HTTPS == "" {
		return nil, nil
	}
	return loadPair(s.TLS)
}

// loadPair reads the files and checks that they can be used.
func loadPair(t proxy.TLS) (*certificate, error) {
	p, err := readCertificate(t)
	if err != nil {
		return nil, err
	}
	if err := p.parse(t); err != nil {
		return nil, err
	}
	return p, nil
}

// namedFile is a file to be read, by the key that names it. It may be "".
type namedFile struct {
	key, name string
	into      *[]byte
}

// readTries is how often a pair is read until both files are of the same one.
const readTries = 3

// readFiles reads files without looking into them. The last two are a pair: when they are swapped meanwhile, by a link to
// their directory for example, they are read again.
func readFiles(hint string, files ...namedFile) (err error) {
	cert := files[len(files)-2]
	for range readTries {
		for _, f := range files {
			if f.name == "" {
				continue
			}
			if *f.into, err = os.ReadFile(f.name); err != nil {
				return advice.With(fmt.Errorf("%s: %w", f.key, err), hint)
			}
		}
		if cert.name == "" {
			break
		}
		if again, err := os.ReadFile(cert.name); err == nil && bytes.Equal(again, *cert.into) {
			break
		}
	}
	return nil
}

// readCertificate reads the files without looking into them.
func readCertificate(t proxy.TLS) (*certificate, error) {
	p := new(certificate)
	if err := readFiles(certificateAdvice, namedFile{"lb.tls.cert", t.Cert, &p.cert}, namedFile{"lb.tls.key", t.Key, &p.key}); err != nil {
		return nil, err
	}
	if info, err := os.Stat(t.Key); err == nil {
		p.exposed = info.Mode().Perm()&0o007 != 0
	}
	return p, nil
}

// parse checks that the pair is one.
func (p *certificate) parse(t proxy.TLS) error {
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return advice.With(fmt.Errorf("lb.tls: %s with key %s: %w", t.Cert, t.Key, err), certificateAdvice)
	}
	p.leaf = pair.Leaf
	return nil
}

// refused says why clients refuse the certificate at that time, nil if they need not.
func (p *certificate) refused(now time.Time) error {
	switch {
	case now.After(p.leaf.NotAfter):
		return fmt.Errorf("it has expired at %v", p.leaf.NotAfter)
	case now.Before(p.leaf.NotBefore):
		return fmt.Errorf("it is not valid before %v", p.leaf.NotBefore)
	}
	return nil
}

// mayReplace is an error when clients would refuse p and do not refuse the pair in service. Both may be nil.
func (p *certificate) mayReplace(old *certificate, t proxy.TLS) error {
	now := time.Now()
	if p == nil || old == nil || p.same(old) || old.refused(now) != nil {
		return nil
	}
	if err := p.refused(now); err != nil {
		return advice.With(fmt.Errorf("lb.tls: %s: %w", t.Cert, err), fmt.Sprintf("put a pair there that is valid now; the one in service ends at %v", old.leaf.NotAfter))
	}
	return nil
}

func (p *certificate) same(other *certificate) bool {
	return p != nil && other != nil && bytes.Equal(p.cert, other.cert) && bytes.Equal(p.key, other.key)
}

// stats describes the certificate; nil if there is none.
func (p *certificate) stats() *proxy.CertificateStats {
	if p == nil {
		return nil
	}
	s := &proxy.CertificateStats{Subject: p.leaf.Subject.String(), Names: []string{}, NotBefore: p.leaf.NotBefore, NotAfter: p.leaf.NotAfter}
	s.Names = append(s.Names, p.leaf.DNSNames...)
	for _, ip := range p.leaf.IPAddresses {
		s.Names = append(s.Names, ip.String())
	}
	return s
}

// expirySoon is how long before its end a certificate is warned of.
const expirySoon = 14 * 24 * time.Hour

// doubt logs what is wrong with a pair that can be served all the same, when it replaces another one.
func (p *certificate) doubt(old *certificate, logger *log.Logger) {
	if p == nil || p.same(old) {
		return
	}
	switch left := time.Until(p.leaf.NotAfter); {
	case left <= 0:
		logger.Warn("the certificate has expired: clients will refuse it", "not_after", p.leaf.NotAfter)
	case left < expirySoon:
		logger.Warn("the certificate expires soon", "not_after", p.leaf.NotAfter)
	}
	if time.Now().Before(p.leaf.NotBefore) {
		logger.Warn("the certificate is not valid yet: clients will refuse it", "not_before", p.leaf.NotBefore)
	}
	if p.exposed {
		logger.Warn("everybody on this machine may read the key of the certificate: chmod o= it")
	}
}
