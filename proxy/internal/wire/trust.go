package wire

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/erlmcp/erlmcp/proxy"
)

// NodeTrust is what TLS to nodes takes, as the master has read it and hands it to the workers: PEM, each of
// which may be empty. It does not change once it is parsed.
type NodeTrust struct {
	CA   []byte `json:",omitempty"`
	Cert []byte `json:",omitempty"`
	Key  []byte `json:",omitempty"` // secret

	Of     proxy.NodeTLS `json:"-"` // what it was parsed for
	Config *tls.Config   `json:"-"` // without the name of a node
}

// Towards is how TLS is spoken to a node of that host.
func (f *NodeTrust) Towards(host string) *tls.Config {
	config := f.Config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	return config
}

// Parse checks that the files can be used.
func (f *NodeTrust) Parse(t proxy.NodeTLS) error {
	config := &tls.Config{
		ServerName:         t.ServerName,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: t.Insecure, //nolint:gosec // as asked for, and warned of
	}
	if t.CA != "" {
		var err error
		if config.RootCAs, err = parseAuthorities(f.CA); err != nil {
			return fmt.Errorf("lb.node_tls.ca: %s: %w", t.CA, err)
		}
	}
	if t.Cert != "" {
		pair, err := tls.X509KeyPair(f.Cert, f.Key)
		if err != nil {
			return fmt.Errorf("lb.node_tls: %s with key %s: %w", t.Cert, t.Key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	f.Of, f.Config = t, config
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

// Same reports whether other holds the same files.
func (f *NodeTrust) Same(other *NodeTrust) bool {
	return other != nil && bytes.Equal(f.CA, other.CA) && bytes.Equal(f.Cert, other.Cert) && bytes.Equal(f.Key, other.Key)
}
