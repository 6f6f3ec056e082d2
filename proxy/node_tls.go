package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/charmbracelet/log"
)

// nodeTrust is what TLS to nodes takes, as the master has read it and hands it to the workers: PEM, each of
// which may be empty. It does not change once it is parsed.
type nodeTrust struct {
	CA   []byte `json:",omitempty"`
	Cert []byte `json:",omitempty"`
	Key  []byte `json:",omitempty"` // secret

	of     NodeTLS     // what it was parsed for
	config *tls.Config // without the name of a node
}

// NodeTLSConfig reads the files that lb.node_tls names and returns how TLS is spoken to a node of that host.
func (s *Spec) NodeTLSConfig() (func(host string) *tls.Config, error) {
	f, err := loadNodeTrust(s.NodeTLS)
	if err != nil {
		return nil, err
	}
	return f.towards, nil
}

// towards is how TLS is spoken to a node of that host.
func (f *nodeTrust) towards(host string) *tls.Config {
	config := f.config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	return config
}

// loadNodeTrust reads the files and checks that they can be used.
func loadNodeTrust(t NodeTLS) (*nodeTrust, error) {
	f, err := readNodeTrust(t)
	if err != nil {
		return nil, err
	}
	if err := f.parse(t); err != nil {
		return nil, err
	}
	return f, nil
}

const nodeTrustAdvice = "ca, cert and key are PEM files; without ca the certificates of nodes must be of an authority that the system trusts"

// readNodeTrust reads the files without looking into them, again when the pair is swapped meanwhile.
func readNodeTrust(t NodeTLS) (*nodeTrust, error) {
	f := new(nodeTrust)
	for range readTries {
		for _, file := range []struct {
			key, name string
			into      *[]byte
		}{{"ca", t.CA, &f.CA}, {"cert", t.Cert, &f.Cert}, {"key", t.Key, &f.Key}} {
			if file.name == "" {
				continue
			}
			var err error
			if *file.into, err = os.ReadFile(file.name); err != nil {
				return nil, &StartError{fmt.Errorf("lb.node_tls.%s: %w", file.key, err), nodeTrustAdvice}
			}
		}
		if t.Cert == "" {
			break
		}
		if again, err := os.ReadFile(t.Cert); err == nil && bytes.Equal(again, f.Cert) {
			break
		}
	}
	return f, nil
}

// parse checks that the files can be used.
func (f *nodeTrust) parse(t NodeTLS) error {
	config := &tls.Config{
		ServerName:         t.ServerName,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: t.Insecure, //nolint:gosec // as asked for, and warned of
	}
	if t.CA != "" {
		var err error
		if config.RootCAs, err = parseAuthorities(f.CA); err != nil {
			return &StartError{fmt.Errorf("lb.node_tls.ca: %s: %w", t.CA, err), nodeTrustAdvice}
		}
	}
	if t.Cert != "" {
		pair, err := tls.X509KeyPair(f.Cert, f.Key)
		if err != nil {
			return &StartError{fmt.Errorf("lb.node_tls: %s with key %s: %w", t.Cert, t.Key, err), nodeTrustAdvice}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	f.of, f.config = t, config
	return nil
}

// parseAuthorities reads certificates. One that is damaged or not written to its end is an error: without it
// nodes would be refused.
func parseAuthorities(text []byte) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(authority)
		found = true
	}
	switch {
	case bytes.Contains(text, []byte("-----BEGIN")):
		return nil, errors.New("a certificate in it has no end")
	case !found:
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

func (f *nodeTrust) same(other *nodeTrust) bool {
	return bytes.Equal(f.CA, other.CA) && bytes.Equal(f.Cert, other.Cert) && bytes.Equal(f.Key, other.Key)
}

// doubt logs what is wrong with what can be used all the same, when it replaces another one.
func (f *nodeTrust) doubt(logger *log.Logger, old *effective) {
	if old != nil && f.same(old.trust) && f.of == old.trust.of {
		return
	}
	if f.of.Insecure {
		logger.Warn("NODES ARE NOT VERIFIED: who is between the balancer and a node can read and change everything, TLS or not (lb.node_tls.insecure)")
	}
	if len(f.config.Certificates) > 0 {
		leaf := f.config.Certificates[0].Leaf
		if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
			logger.Warn("the certificate shown to nodes is not valid now: they will refuse it", "not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
		}
	}
}

// lookAtNodeTrust has what TLS to nodes takes replaced if its files have changed. What cannot be used is left
// to the next look: it may be half written. It returns what is wrong, which is logged when it differs from
// complaint.
func (m *master) lookAtNodeTrust(complaint string) string {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	now := m.now.Load()
	if m.draining() {
		return ""
	}
	f, err := readNodeTrust(now.spec.NodeTLS)
	if err == nil && f.same(now.trust) {
		return ""
	}
	if err == nil {
		err = f.parse(now.spec.NodeTLS)
	}
	if err != nil {
		if err.Error() != complaint {
			m.log.Error("the files of lb.node_tls cannot be used, what they held before stays", "err", err)
		}
		return err.Error()
	}
	m.members.trust.Store(f)
	next := *now
	next.trust = f
	m.enforce(&next)
	m.fleet.respec()
	m.log.Info("certificates of lb.node_tls replaced")
	return ""
}
