package master

import (
	"crypto/tls"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// NodeTLSConfig reads the files that lb.node_tls of s names and returns how TLS is spoken to a node of that host.
func NodeTLSConfig(s *proxy.Spec) (func(host string) *tls.Config, error) {
	f, err := loadNodeTrust(s.NodeTLS)
	if err != nil {
		return nil, err
	}
	return f.Towards, nil
}

// loadNodeTrust reads the files and checks that they can be used.
func loadNodeTrust(t proxy.NodeTLS) (*wire.NodeTrust, error) {
	f, err := readNodeTrust(t)
	if err != nil {
		return nil, err
	}
	if err := f.Parse(t); err != nil {
		return nil, advice.With(err, nodeTrustAdvice)
	}
	return f, nil
}

const nodeTrustAdvice = "ca, cert and key are PEM files; without ca the certificates of nodes must be of an authority that the system trusts"

// readNodeTrust reads the files without looking into them.
func readNodeTrust(t proxy.NodeTLS) (*wire.NodeTrust, error) {
	f := new(wire.NodeTrust)
	err := readFiles(nodeTrustAdvice,
		namedFile{"lb.node_tls.ca", t.CA, &f.CA}, namedFile{"lb.node_tls.cert", t.Cert, &f.Cert}, namedFile{"lb.node_tls.key", t.Key, &f.Key})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// doubtNodeTrust logs what is wrong with what can be used all the same, when it replaces another one.
func doubtNodeTrust(f, old *wire.NodeTrust, logger *log.Logger) {
	if f.Same(old) && f.Of == old.Of {
		return
	}
	if f.Of.Insecure {
		logger.Warn("NODES ARE NOT VERIFIED: who is between the balancer and a node can read and change everything, TLS or not (lb.node_tls.insecure)")
	}
	if len(f.Config.Certificates) > 0 {
		leaf := f.Config.Certificates[0].Leaf
		if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
			logger.Warn("the certificate shown to nodes is not valid now: they will refuse it", "not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
		}
	}
}
