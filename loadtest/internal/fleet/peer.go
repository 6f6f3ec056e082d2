package fleet

import (
	"crypto/rand"
	"strings"
)

// localPeer is an agent of this machine, at the other end of its control stream.
type localPeer struct {
	fleet *Fleet
	copy  int
}

// Send implements [bus.Peer].
func (p localPeer) Send(kind string, data any) error {
	<-p.fleet.started
	return p.fleet.pool.Send(p.copy, kind, data)
}

// Close implements [bus.Peer]: the process ends, and with it its connections.
func (p localPeer) Close(string) {
	<-p.fleet.started
	p.fleet.pool.Kill(p.copy)
}

// randomName is that of a run.
func randomName() string { return strings.ToLower(rand.Text()[:12]) }
