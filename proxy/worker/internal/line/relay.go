package line

import (
	"bytes"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// The relay copies both ways and holds at most one read's worth in each: while
// one end has something it could not write, the other is not read.

// OnOpen is not called for an accepted connection.
func (c *clientEnd) OnOpen(*reactor.Conn) {}

// OnData is the client speaking.
func (c *clientEnd) OnData(_ *reactor.Conn, data []byte) (consumed int) {
	p := (*pair)(c)
	switch p.state {
	case greeting:
		return p.greeted(data)
	case relaying:
		return p.fromClient(data)
	default:
		return len(data) // nobody is going to answer
	}
}

// fromClient passes on what the limits allow. The rest is kept, unread.
func (p *pair) fromClient(data []byte) (consumed int) {
	if p.backend == nil {
		return len(data) // the node is done with this client
	}
	p.lastActive, p.spoken = p.w.Loop.Now(), true
	p.w.Crowd.Use(p.source, &p.seat, p.lastActive)
	for consumed < len(data) && p.state == relaying && !p.client.Paused() {
		consumed += p.passOn(data[consumed:])
	}
	return consumed
}

func (p *pair) passOn(data []byte) (consumed int) {
	w, b := p.w, p.backend
	v := p.meter.measure(w, p.source, data, p.lastActive)
	if v.forward > 0 {
		b.line().Asked(p.lastActive)
		b.Flow.BytesIn.Add(uint64(v.forward))
		p.access.Received(v.forward)
		p.node.Send(data[:v.forward])
	}
	if v.messages > 0 {
		w.Cell.Messages.Add(uint64(v.messages))
		b.Flow.Messages.Add(uint64(v.messages))
	}
	if len(v.answer) > 0 {
		p.answer(v.answer)
	}
	if v.rejected {
		addr, _ := p.address()
		w.Rejected(p.source, addr, "messages")
	}
	if v.tooLong {
		w.CountCut(p.access, board.ReasonTooLarge)
		p.dismiss(mcp.AppendError(nil, nil, mcp.CodeInvalidRequest, "message longer than "+w.Spec.MaxMessage.String()))
		return len(data)
	}
	if v.wait > 0 {
		p.throttle(v.wait)
	}
	if p.node.Pending() > 0 {
		p.full.node = true
		p.client.Pause()
	}
	return v.consumed
}

// answer sends the client error lines of our own, between two lines of the
// node's. Until they are out the client is not read.
func (p *pair) answer(lines []byte) {
	if p.midLine && !p.ended.node {
		p.rare().answers = append(p.rare().answers, lines...)
	} else {
		p.client.Send(lines)
	}
	if p.waiting() || p.client.Pending() > 0 {
		p.full.client = true
		p.client.Pause()
		p.schedule()
	}
}

// throttle stops reading the client until its source conforms again.
func (p *pair) throttle(wait time.Duration) {
	p.w.Throttled(wait)
	p.resumeAt = p.w.Loop.Now() + int64(wait)
	p.client.Pause()
	p.schedule()
}

// readClient reads on if nothing speaks against it.
func (p *pair) readClient() {
	if !p.full.node && !p.full.client && p.resumeAt == 0 {
		p.client.Resume()
	}
}

// OnDrained lets the node speak on, and the client too.
func (c *clientEnd) OnDrained(*reactor.Conn) {
	p := (*pair)(c)
	p.lastActive = p.w.Loop.Now()
	p.node.Resume()
	p.answered()
}

// answered lets a client that had answers waiting speak on once it has them.
func (p *pair) answered() {
	if p.full.client && !p.waiting() && p.client.Pending() == 0 {
		p.full.client = false
		p.readClient()
	}
}

// OnEOF passes the end of the client's stream on. Its answers still come.
func (c *clientEnd) OnEOF(*reactor.Conn) {
	p := (*pair)(c)
	p.ended.client = true
	switch {
	case p.state == dismissed || p.state == flushing: // closes by itself once it has everything
	case p.state != relaying:
		p.cutOff(board.ReasonClientGone)
	case p.ended.node:
		p.close()
	default:
		if messages := p.meter.end(p.w, p.source, p.w.Loop.Now()); messages > 0 && p.backend != nil {
			p.w.Cell.Messages.Add(uint64(messages))
			p.backend.Flow.Messages.Add(uint64(messages))
		}
		p.node.CloseWrite()
	}
}

// OnClose ends the pair with its client.
func (c *clientEnd) OnClose(_ *reactor.Conn, err error) {
	p := (*pair)(c)
	switch {
	case p.backend == nil || p.ended.node: // it is over already
	case p.w.Ending:
		p.w.CountCut(p.access, board.ReasonDrain)
	case err != nil:
		p.w.CountCut(p.access, board.ReasonClientGone)
	}
	p.release()
	p.node.Close()
	p.gone()
}

// OnOpen is the node's answer to the connect.
func (n *nodeEnd) OnOpen(*reactor.Conn) { n.w.connected((*pair)(n)) }

// OnData is the node speaking.
func (n *nodeEnd) OnData(_ *reactor.Conn, data []byte) (consumed int) {
	p := (*pair)(n)
	p.lastActive = p.w.Loop.Now()
	p.w.Crowd.Use(p.source, &p.seat, p.lastActive)
	if b := p.backend; b != nil {
		b.line().Answered()
		b.Flow.BytesOut.Add(uint64(len(data)))
		p.access.Sent(len(data))
	}
	p.toClient(data)
	if p.client.Pending() > 0 {
		p.node.Pause()
		p.schedule()
	}
	return len(data)
}

// toClient passes the node's bytes on, and behind the first line that they end
// the answers that waited for it.
func (p *pair) toClient(data []byte) {
	if p.waiting() {
		if end := bytes.IndexByte(data, '\n') + 1; end > 0 {
			p.client.Send(data[:end])
			p.client.Send(p.extra.answers)
			p.extra.answers = nil
			data = data[end:]
			defer p.answered()
		}
	}
	if len(data) > 0 {
		p.client.Send(data)
		p.midLine = data[len(data)-1] != '\n'
	} else {
		p.midLine = false
	}
}

// OnDrained lets the client speak on.
func (n *nodeEnd) OnDrained(*reactor.Conn) {
	p := (*pair)(n)
	if p.full.node {
		p.full.node = false
		p.readClient()
	}
}

// OnEOF passes the end of the node's stream on.
func (n *nodeEnd) OnEOF(*reactor.Conn) {
	p := (*pair)(n)
	p.ended.node = true
	if p.ended.client {
		if b := p.backend; b != nil {
			b.line().Lives() // the kernel would not end this one for a frozen process
		}
		p.release()
	} else {
		if p.backend != nil {
			p.w.CountCut(p.access, p.w.Failed(p.backend.line(), hub.ConnClosed, nil))
		}
		p.lastActive = p.w.Loop.Now()
		p.schedule()
	}
	p.client.CloseWrite()
	if p.waiting() { // for the end of a line that will not come
		p.extra.answers = nil
		p.answered()
	}
}

// OnClose ends the relay, or leads to another node when there was none yet.
func (n *nodeEnd) OnClose(_ *reactor.Conn, err error) {
	p := (*pair)(n)
	if p.state == connecting && p.client.Open() {
		p.open--
		if p.backend != nil {
			p.w.Failed(p.backend.line(), hub.ConnectFailure(err), err)
			p.w.elsewhere(p)
		} else {
			p.w.connect(p, p.sourceHash())
		}
		return
	}
	if err != nil && p.backend != nil && !p.ended.node { // after its own end it may reset who still speaks
		p.w.CountCut(p.access, p.w.Failed(p.backend.line(), hub.ConnReset, err))
	}
	p.release()
	if p.client.Open() && p.state != dismissed {
		p.flush()
	}
	p.gone()
}

// tick is the relay's timer: the end of a throttle, or a look at how long
// nothing has passed. Being idle is found out lazily, so that a byte costs no
// timer.
func (p *pair) tick() {
	now := p.w.Loop.Now()
	if p.resumeAt != 0 && now >= p.resumeAt {
		p.resumeAt = 0
		p.lastActive = now // it was not the client who kept silent
		p.readClient()
	}
	if limit, reason := p.limit(); limit > 0 && p.resumeAt == 0 && now-p.lastActive >= int64(limit) {
		p.cutOff(reason)
		return
	}
	p.schedule()
}

// limit is for how long nothing may pass, and what it is then; 0 is for ever.
func (p *pair) limit() (time.Duration, board.Reason) {
	t := &p.w.Spec.Timeouts
	switch {
	case p.client.Pending() > 0:
		return hub.Sooner(t.Send, t.Idle), board.ReasonUntaken
	case !p.spoken, p.ended.node: // nothing is under way, or the client alone holds it open
		return hub.Sooner(t.Keepalive, t.Idle), board.ReasonIdle
	}
	return t.Idle, board.ReasonIdle
}

// schedule arms the relay's timer for what comes first.
func (p *pair) schedule() {
	if p.resumeAt != 0 {
		p.w.Loop.Schedule(&p.timer, time.Duration(p.resumeAt-p.w.Loop.Now()), p)
	} else if limit, _ := p.limit(); limit > 0 {
		p.w.Loop.Schedule(&p.timer, time.Duration(p.lastActive+int64(limit)-p.w.Loop.Now()), p)
	}
}
