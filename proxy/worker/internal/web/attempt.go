package web

import (
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// attempt is the one under way to have a node answer a request, and what the earlier ones came to.
type attempt struct {
	node    *nodeConn    // nil until one is chosen, after it failed, and for a request that was refused
	backend *hub.Backend // likewise
	port    *port        // of the backend
	head    *[]byte      // of the request as its node will get it, while that is dialled

	began     int64       // when a connection was first wanted
	sent      int64       // when the head of the request was sent
	tried     uint64      // nodes that failed it, a bit per slot
	headSize  uint32      // length of the head in the client's input
	kept      uint32      // length of the request while it stays in the client's input, perhaps to be sent again
	seen      uint32      // how much of a response head was looked at in vain
	failure   hub.Failure // of the last attempt
	lost      hub.Failure // of the last one that had reached a node: NoFailure if none had
	fresh     bool        // no connection out of the pool: one was stale
	disagreed string      // why TLS with a node failed, "" if it did not
}

// binding is what ties a request to a node.
type binding struct {
	since     affinity.Time // of its session or endpoint
	cookie    int8          // the node that the client's cookie names
	stateless bool          // of the stateless era: any node will do
	session   bool          // has the tag of a session
	endpoint  bool          // has the tag of a legacy event stream
}

// maxSpareHead bounds the room of a head that is kept for another one.
const maxSpareHead = 4 << 10

// dropHead lets go of the head that was for a node.
func (x *exchange) dropHead() {
	if x.head != nil && cap(*x.head) <= maxSpareHead {
		x.client.w.spare.heads.Put(x.head)
	}
	x.head = nil
}

// choose chooses the node of x. Without one, reason says why.
func (x *exchange) choose(r *http1.Request) (b *hub.Backend, reason board.Reason) {
	if x.failure == hub.ConnectOutOfTime && !x.session && !x.endpoint {
		reason = x.failure.Told()
	} else if b, reason = x.client.w.route(x, r); b != nil {
		return b, 0
	}
	if x.lost != hub.NoFailure && (reason == board.ReasonNoNode || reason == board.ReasonNodeLost) {
		reason = x.lost.Told()
	}
	return nil, reason
}

// engage finds a node for x and a connection to it, which may have to be made first.
func (x *exchange) engage(r *http1.Request) policy.Refusal {
	w := x.client.w
	if x.began == 0 {
		x.began = w.Loop.Now()
	}
	for {
		b, reason := x.choose(r)
		if b == nil {
			return x.refusal(reason)
		}
		to := w.nodes[b.Slot].portFor(x.kind.transport())
		x.hold(to)
		n := (*nodeConn)(nil)
		if !x.fresh {
			n = to.pool.take(w.Loop.Now(), x.replayable)
		}
		if n == nil {
			n = w.spare.nodes.Take()
			*n = nodeConn{w: w, pool: &to.pool, epoch: to.pool.epoch}
			w.makeRoom()
			if err := w.dial(to, &n.conn, n); err != nil {
				w.spare.nodes.Put(n)
				x.failed(hub.ConnectFailure(err), err)
				x.tried |= 1 << b.Slot
				b.Flow.Retries.Add(1)
				x.leave()
				continue
			}
		}
		x.node, n.x = n, x
		return policy.Refusal{}
	}
}

// failed takes note that the attempt has failed.
func (x *exchange) failed(f hub.Failure, err error) board.Reason {
	if f == hub.ConnectDistrusted || f == hub.ConnDisowned {
		x.disagreed = hub.Disagreement(err)
	}
	x.failure = f
	return x.client.w.Failed(x.port.Port, f, err)
}

// connectFailed goes on after the node could not be reached.
func (x *exchange) connectFailed(f hub.Failure, err error) {
	x.failed(f, err)
	x.elsewhere()
}

// connectTimeout gives up on a node that does not answer the connect while another could be tried,
// or altogether when the client has waited long enough.
func (x *exchange) connectTimeout() {
	w := x.client.w
	switch left := w.Spec.Timeouts.Connect - time.Duration(w.Loop.Now()-x.began); {
	case left <= 0:
		x.connectFailed(hub.ConnectOutOfTime, nil)
	case x.hasOther():
		x.connectFailed(hub.ConnectUnanswered, nil)
	default:
		x.client.within(left)
	}
}

// broken goes on after the connection to the node has failed, or the node was marked down. As long as nothing
// of the request is lost it is sent again: to the same node if the connection was out of the pool, where it may
// have been closed at any time, which says nothing about the node.
func (x *exchange) broken(f hub.Failure, err error) {
	c, n := x.client, x.node
	reason := x.failed(f, err)
	switch {
	case x.phase == tunnelling && x.tunnel.closing():
		x.end()
		c.part()
	case x.headed():
		if c.ended && reason == board.ReasonNodeLost {
			reason = board.ReasonClientGone // which the node was told, and has left too
		}
		x.cutOff(reason)
	case x.kept > 0 && n.used && (x.replayable || n.untouched()):
		x.anew()
	case x.kept > 0 && (x.replayable || n.unsent):
		x.lost = f
		x.elsewhere()
	default:
		x.refuse(x.refusal(reason))
	}
}

// anew sends the request again, on a connection of its own.
func (x *exchange) anew() {
	x.fresh = true
	x.retry()
}

// elsewhere takes the request to another node.
func (x *exchange) elsewhere() {
	x.tried |= 1 << x.backend.Slot
	x.retry()
}

// retry reads the request anew, and chooses a node again.
func (x *exchange) retry() {
	x.backend.Flow.Retries.Add(1)
	x.access.Again()
	if x.node.opened {
		x.began = 0 // what the node took for the request is not time to connect to another one
	}
	x.dropNode()
	x.kept, x.seen, x.complete, x.asks = 0, 0, false, false
	x.length, x.foreign, x.batch, x.peeked = 0, 0, mcp.Scanner{}, x.peeked[:0]
	x.phase = choosing
	x.client.conn.Reoffer()
}

// refusal is what the client is told for a reason, when a node could not be used.
func (x *exchange) refusal(reason board.Reason) policy.Refusal {
	no := policy.RefusalOf(reason, 0)
	if x.disagreed != "" && (reason == board.ReasonNoNode || reason == board.ReasonNodeLost) {
		no.Status, no.Text = http.StatusBadGateway, "TLS could not be agreed on with the node: "+x.disagreed
	}
	return no
}
