package proxy

import "time"

// certificateLook is how often the files of the certificate are read.
const certificateLook = time.Second

// watchCertificate has the certificate replaced when its files change, until serving ends. Their content
// is compared: that sees through links that are swapped, and clocks that stand still.
func (m *master) watchCertificate() {
	tick := time.NewTicker(certificateLook)
	defer tick.Stop()
	var complaint string
	for {
		select {
		case <-m.serving.Done():
			return
		case <-tick.C:
			complaint = m.lookAtCertificate(complaint)
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
