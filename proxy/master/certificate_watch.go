package master

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
)

// certificateLook is how often the files of certificates are read.
const certificateLook = time.Second

// watchCertificates has certificates replaced when their files change, until serving ends. Their content
// is compared: that sees through links that are swapped, and clocks that stand still.
func (m *master) watchCertificates() {
	var own, nodes string // what was last complained of
	for range tempo.Every(m.serving, certificateLook) {
		own = m.lookAtCertificate(own)
		nodes = m.lookAtNodeTrust(nodes)
	}
}

// lookAtCertificate replaces the certificate if its files have changed. One that is not valid now is left to the next
// look, as long as the old one is.
func (m *master) lookAtCertificate(complaint string) string {
	next, wrong := m.replace(complaint, "the certificate on disk cannot be served, the old one stays", func(e effective) (*effective, error) {
		old, files := e.certificate, e.spec.TLS
		if old == nil {
			return nil, nil
		}
		p, err := readCertificate(files)
		if err != nil || p.same(old) {
			return nil, err
		}
		if err = p.parse(files); err == nil {
			err = p.mayReplace(old, files)
		}
		e.certificate = p
		return &e, err
	})
	if next != nil {
		m.log.Info("certificate replaced", "subject", next.certificate.leaf.Subject, "not_after", next.certificate.leaf.NotAfter)
	}
	return wrong
}

// lookAtNodeTrust has what TLS to nodes takes replaced if its files have changed.
func (m *master) lookAtNodeTrust(complaint string) string {
	next, wrong := m.replace(complaint, "the files of lb.node_tls cannot be used, what they held before stays", func(e effective) (*effective, error) {
		f, err := readNodeTrust(e.spec.NodeTLS)
		if err != nil || f.Same(e.trust) {
			return nil, err
		}
		e.trust = f
		return &e, f.Parse(e.spec.NodeTLS)
	})
	if next != nil {
		m.log.Info("certificates of lb.node_tls replaced")
	}
	return wrong
}

// replace puts into force what read makes of the present configuration: nil if its files are the same. Those that cannot
// be used are left to the next look: they may be half written. What is wrong with them is logged when it differs from
// complaint.
func (m *master) replace(complaint, failure string, read func(effective) (*effective, error)) (next *effective, wrong string) {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	if m.draining() {
		return nil, ""
	}
	next, err := read(*m.inForce.Load())
	if err != nil {
		if err.Error() != complaint {
			m.log.Error(failure, "err", err)
		}
		return nil, err.Error()
	}
	if next != nil {
		m.members.trust.Store(next.trust)
		m.enforce(next)
		m.fleet.respec()
	}
	return next, ""
}
