package proxy

import "time"

// certificateLook is how often the files of certificates are read.
const certificateLook = time.Second

// watchCertificates has certificates replaced when their files change, until serving ends. Their content
// is compared: that sees through links that are swapped, and clocks that stand still.
func (m *master) watchCertificates() {
	tick := time.NewTicker(certificateLook)
	defer tick.Stop()
	var own, nodes string // what was last complained of
	for {
		select {
		case <-m.serving.Done():
			return
		case <-tick.C:
			own = m.lookAtCertificate(own)
			nodes = m.lookAtNodeTrust(nodes)
		}
	}
}

// lookAtCertificate replaces the certificate if its files have changed. A pair that is none is left to
// the next look: it may be half written. So is one that is not valid now, as long as the old one is. It returns what is wrong with it, which is logged when it
// differs from complaint.
func (m *master) lookAtCertificate(complaint string) string {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	now := m.now.Load()
	if now.certificate == nil || m.draining() {
		return ""
	}
	p, err := readCertificate(now.spec.TLS)
	if err == nil && p.same(now.certificate) {
		return ""
	}
	if err == nil {
		err = p.parse(now.spec.TLS)
	}
	if err == nil {
		err = p.mayReplace(now.certificate, now.spec.TLS)
	}
	if err != nil {
		if err.Error() != complaint {
			m.log.Error("the certificate on disk cannot be served, the old one stays", "err", err)
		}
		return err.Error()
	}
	next := *now
	next.certificate = p
	m.enforce(&next)
	m.fleet.respec()
	m.log.Info("certificate replaced", "subject", p.leaf.Subject, "not_after", p.leaf.NotAfter)
	return ""
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
