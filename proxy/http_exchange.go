package proxy

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/sse"
)

// exchange is one request and its response. It counts as a connection of its backend while it has a
// node.
type exchange struct {
	origin
	client     *httpClient
	node       *httpNode // nil until one is chosen, after it failed, and for a request that was refused
	backend    *backend  // likewise
	port       *port     // of the backend
	next, prev *exchange // among those of its port; next also among the spare ones

	in   http1.Body // of the request
	out  http1.Body // of the response
	size int64      // of the request's body so far

	batch   mcp.Scanner // of the body
	peeked  []byte      // the beginning of an encoded body
	charged uint32      // messages with which the source was charged
	paid    int64       // length of a body for which the source was charged
	foreign uint32      // bytes of a body in another charset

	began int64         // when a connection was first wanted
	sent  int64         // when the head of the request was sent
	tried uint64        // nodes that failed it, a bit per slot
	since affinity.Time // of its session or endpoint
	kept  uint32        // length of the request while it stays in the client's input, perhaps to be sent again
	seen  uint32        // how much of a response head was looked at in vain

	page      []byte              // origin of the page that asks; its room is kept
	disagreed string              // why TLS with a node failed, "" if it did not
	access    *accessEntry        // nil while there is no access log
	filter    *sse.EndpointFilter // of the beginning of a legacy event stream; else nil
	due       int64               // when the head of the response has to be there, while ask stands before it; 0 = never
	alive     int64               // of a response: when something passed last, or the client took a comment
	frames    *tunnelFrames       // of a tunnel
	resumeAt  int64               // of a tunnel: when its client may be read again, 0 = it may
	zip       *coding.Zipper      // of the response's body; else nil
	place     sse.Place           // of an event stream
	cookie    int8                // the node that the client's cookie names
	method    int8                // a number of mcp.MethodNumber, methodSought or methodNone
	kind      kind
	framing   http1.Framing // of the response towards the client
	coding    coding.Coding // of the body

	// The request.
	old        bool // HTTP/1.0
	bare       bool // HEAD
	keep       bool // the client's connection goes on
	replayable bool // may be sent twice
	cacheable  bool // GET or HEAD
	upgrade    bool // to a WebSocket
	stateless  bool // of the stateless era: any node will do
	listens    bool // for what may never come
	session    bool // has the tag of a session
	endpoint   bool // has the tag of a legacy event stream
	relayed    bool // by a trusted proxy
	entered    bool // counted as a connection of its source
	admitted   bool // by the limits
	resized    bool // the body is in chunks
	zips       bool // the client takes gzip
	weak       bool // it has a body with a weak tag and asks whether that is still good
	complete   bool // all of it was sent
	asks       bool // the timer is that of ask

	// The response.
	fresh     bool // no connection out of the pool: one was stale
	cut       bool // a node has closed the connection instead of answering
	starved   bool // this machine lacked something to connect with
	rejected  bool // a node refused the connect
	displaced bool // a node was marked down before it answered
	pending   bool // its end is awaited, see board.Flow
	headed    bool // the client has the head of the response
	interim   bool // the node has sent an interim response
	nodeKeeps bool // the node's connection goes on
	tunnel    bool
	nodeEnded bool // of a tunnel: nothing comes from the node any more
	varies    bool // another client may get the body in another coding
	zipped    bool // the client gets it, or the head it has, compressed
	events    bool // the response is an event stream that comments can be put into
	afterCR   bool // of it
	departs   bool // it is to end between two events, once the client's patience is over
}

func (w *worker) takeExchange(c *httpClient) *exchange {
	x := w.http.spareExchanges
	if x == nil {
		x = new(exchange)
	} else {
		w.http.spareExchanges = x.next
	}
	*x = exchange{client: c, page: x.page[:0]}
	c.x = x
	return x
}

// hold counts x as a connection of the node to which p belongs.
func (x *exchange) hold(p *port) {
	b := p.backend
	x.backend, x.port = b, p
	x.access.at(b)
	b.flow.Active.Add(1)
	b.flow.Pending.Add(1)
	x.pending = true
	x.prev, x.next = nil, p.exchanges
	if x.next != nil {
		x.next.prev = x
	}
	p.exchanges = x
}

// leave undoes hold.
func (x *exchange) leave() {
	b, p := x.backend, x.port
	if b == nil {
		return
	}
	x.settle()
	x.backend, x.port = nil, nil
	b.flow.Active.Add(-1)
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		p.exchanges = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	}
	x.next, x.prev = nil, nil
	if p.exchanges == nil {
		p.askedAt = 0 // nobody awaits an answer any more
	}
}

// settle says that nobody has to wait for the end of the response: it has come, or is a stream that ends
// when one of both wishes.
func (x *exchange) settle() {
	if x.pending {
		x.pending = false
		x.backend.flow.Pending.Add(-1)
	}
}

// dropNode closes the connection to the node.
func (x *exchange) dropNode() {
	if n := x.node; n != nil {
		x.node, n.x = nil, nil
		n.conn.Close()
	}
	x.leave()
}

// end is the end of an exchange that leaves no connection to its node.
func (x *exchange) end() {
	x.dropNode()
	x.free()
}

func (x *exchange) free() {
	c := x.client
	c.x = nil
	x.exit()
	c.w.access.end(c.w, x.access, c.frontend())
	c.discard += x.kept
	if x.zip != nil {
		c.w.http.zippers.Put(x.zip)
	}
	*x = exchange{next: c.w.http.spareExchanges, page: x.page[:0]}
	c.w.http.spareExchanges = x
}

// finish ends an exchange whose response is complete.
func (x *exchange) finish() {
	c, n := x.client, x.node
	if c.ended && x.endless() {
		c.w.countCut(x.access, board.ReasonClientGone) // and the node has ended the stream for that
	}
	x.leave()
	x.node, n.x = nil, nil
	if x.nodeKeeps && x.complete {
		n.conn.Resume()
		n.pool.put(n)
	} else {
		n.conn.Close()
	}
	keep := x.keep
	x.free()
	if keep {
		c.rest()
	} else {
		c.part()
	}
}

// refuse answers a request that is under way with an error of ours, or breaks its response off.
func (x *exchange) refuse(no refusal) {
	c := x.client
	if x.headed {
		x.cutOff(no.reason)
		return
	}
	x.dropNode()
	x.forgetRequest()
	keep := x.keep && !x.old && x.complete && !c.w.draining
	c.say(no, x.page, keep, x.bare)
	x.free()
	if keep {
		c.rest()
	} else {
		c.part()
	}
}

// breakOff ends the client's connection in the middle of a response, so that it cannot look whole.
func (x *exchange) breakOff() {
	c, framing := x.client, x.framing
	x.end()
	if framing == http1.UntilClose {
		c.conn.Abort() // an orderly end would be the end of the body
		return
	}
	c.flushOut()
}

// forgetRequest lets go of a request that cannot be sent again any more.
func (x *exchange) forgetRequest() {
	if x.kept > 0 {
		x.client.discard += x.kept
		x.kept = 0
		x.client.again()
	}
}

// answered does the same as the node begins to answer. Mostly there is no more in hand than the request.
func (x *exchange) answered() {
	c := x.client
	if x.kept != c.left || c.discard > 0 || c.conn.Paused() {
		x.forgetRequest()
		return
	}
	c.conn.Drop(int(x.kept))
	x.kept, c.left = 0, 0
}

// lost goes on without the node, which was there no more or is marked down.
func (x *exchange) lost(reason board.Reason) {
	c, n := x.client, x.node
	switch {
	case !n.opened:
		x.elsewhere()
	case x.tunnel && x.closing():
		x.end()
		c.part()
	case x.tunnel, x.headed:
		if c.ended && reason == board.ReasonNodeLost {
			reason = board.ReasonClientGone // which the node was told, and has left too
		}
		x.cutOff(reason)
	case x.kept > 0 && n.used && (x.replayable || n.untouched()):
		x.fresh = true // it was closed while it waited in the pool: that says nothing about the node
		x.retry()
	case x.kept > 0 && (x.replayable || n.unsent):
		x.cut = true
		x.elsewhere()
	default:
		x.refuse(x.refusal(reason))
	}
}

// nodeLost is what the client is told when no node has answered because one was lost.
func (x *exchange) nodeLost() refusal {
	if x.displaced {
		return refusalOf(board.ReasonNodeDown, 0)
	}
	return x.refusal(board.ReasonNodeLost)
}

// elsewhere takes the request, nothing of which is lost, to another node.
func (x *exchange) elsewhere() {
	x.tried |= 1 << x.backend.slot
	x.retry()
}

// retry reads the request anew, and chooses a node again.
func (x *exchange) retry() {
	x.backend.flow.Retries.Add(1)
	x.access.again()
	if x.node.opened {
		x.began = 0 // what the node took for the request is not time to connect to another one
	}
	x.dropNode()
	x.kept, x.seen, x.complete, x.asks = 0, 0, false, false
	x.client.state = reading
	x.client.again()
}

// connectTimeout gives up on a node that does not answer the connect while another could be tried,
// or altogether when the client has waited long enough.
func (x *exchange) connectTimeout() {
	c, w := x.client, x.client.w
	waited := time.Duration(w.loop.Now() - x.began)
	left := w.spec.Timeouts.Connect - waited
	if left > 0 && !x.hasOther() {
		c.within(left)
		return
	}
	x.connectFailed(unix.ETIMEDOUT)
	if left <= 0 {
		x.tried = ^uint64(0)
	}
	x.elsewhere()
}

// expired ends an exchange in which nothing happens.
func (x *exchange) expired() {
	c := x.client
	switch {
	case x.node == nil:
		c.conn.Close()
	case x.asks:
		x.ask()
	case x.headed:
		x.silent()
	case !x.complete && !c.conn.Paused():
		x.refuse(refusalOf(board.ReasonSlow, 0).because("the request body did not come in time"))
	default:
		x.refuse(refusalOf(board.ReasonNodeTimeout, 0))
	}
}

// tunnelOut passes on what the node says after the upgrade.
func (x *exchange) tunnelOut(p []byte) (consumed int) {
	c := x.client
	x.port.answered()
	x.backend.flow.BytesOut.Add(uint64(len(p)))
	x.access.sent(len(p))
	for scanned := 0; scanned < len(p); {
		n, _, _ := x.frames.said.Next(p[scanned:], math.MaxUint64, nil)
		scanned += n
	}
	c.conn.Send(p)
	if c.conn.Pending() > 0 {
		x.node.conn.Pause()
	}
	x.tunnelPatience()
	return len(p)
}
