package hub

import (
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
)

// Greeted reads the PROXY header with which a trusted peer begins; its source is the peer itself if the header says
// that. n is 0 while it is incomplete. A connection is closed if there is no header, or it has gone.
func (h *Hub) Greeted(conn *reactor.Conn, data []byte) (head proxyproto.Header, n int) {
	head, n, err := proxyproto.Parse(data)
	if err == nil && !head.Local {
		return head, n
	}
	peer, gone := conn.RemoteAddr()
	switch head.Source = peer; {
	case err != nil:
		h.Complain("PROXY header", "peer", peer, "err", err)
		conn.Close()
		return head, len(data)
	case gone != nil:
		conn.Close()
	}
	return head, n
}

// OnAcceptError reports that newcomers have to wait in the kernel's queue.
func (h *Hub) OnAcceptError(err error) {
	h.Complain("accept", "err", err, "clients", h.Cell.Active.Load())
}
