package attack

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// volley is an attack of vegeta's: requests on a schedule, until its end or until it is stopped. It is the pacer, which
// holds every hit until it is due, and the transport, which makes of the hit with a number the request that was due then.
type volley struct {
	attack   *Attack
	schedule schedule
	end      int64 // no instant from here on; 0 is no end
	going    context.Context
	stop     context.CancelFunc
}

// pings takes the order to send so many requests per second from at on, in place of the last one.
func (a *Attack) pings(at int64, rate float64, o *wire.PingOrder) {
	a.quiet()
	v := &volley{attack: a, schedule: schedule{at, rate}}
	if o.For > 0 {
		v.end = at + int64(o.For)
	}
	a.tally.Begin(at, o)
	v.going, v.stop = context.WithCancel(a.opening)
	a.volley = v
	a.spawn(v.run)
}

// quiet takes the order to send no more.
func (a *Attack) quiet() {
	if a.volley != nil {
		a.volley.stop()
	}
}

// seqHeader is where vegeta says the number of a hit.
const seqHeader = "X-Vegeta-Seq"

// maxWaiting is how many requests an agent has under way. More are due only where servers have stood still for seconds: then
// they are sent late, which the run is told, and memory stays bounded.
const maxWaiting = 4096

// run returns when every request has come to its end. A hit that finds no worker idle gets another one, so that none waits
// before there are maxWaiting.
func (v *volley) run() {
	defer v.stop()
	attacker := vegeta.NewAttacker(vegeta.Client(&http.Client{Transport: v}), vegeta.MaxBody(0),
		vegeta.Redirects(vegeta.NoFollow), vegeta.MaxWorkers(maxWaiting))
	each := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodPost, URL: v.attack.url.String()})
	for range attacker.Attack(each, v, 0, "") { // what they say was noted when it was so
	}
}

// Pace implements [vegeta.Pacer].
func (v *volley) Pace(_ time.Duration, hits uint64) (wait time.Duration, stop bool) {
	at := v.schedule.at(hits)
	return 0, v.end != 0 && at >= v.end || !until(v.going, at)
}

// Rate implements [vegeta.Pacer].
func (v *volley) Rate(time.Duration) float64 { return v.schedule.rate }

// errNobody says that there was no session to ask.
var errNobody = errors.New("no session is there to be asked")

// RoundTrip implements [http.RoundTripper].
func (v *volley) RoundTrip(r *http.Request) (*http.Response, error) {
	seq, err := strconv.ParseUint(r.Header.Get(seqHeader), 10, 64)
	if err != nil {
		return nil, err
	}
	status, err := v.attack.ping(v.schedule.at(seq))
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Status: strconv.Itoa(status), Body: http.NoBody, Request: r}, nil
}

// ping sends a request that is due over the next verified session, and notes what becomes of it. The error is for vegeta.
func (a *Attack) ping(due int64) (status int, err error) {
	p := a.begin(due)
	if p == nil {
		return 0, errNobody
	}
	overdue := time.AfterFunc(a.timeout, func() { a.cut(p.link, ask.CauseTimeout) })
	defer p.depart()
	defer overdue.Stop()
	before := p.link.sent.Load()
	r, err := a.post(context.Background(), p.link, p.head, p.body)
	if err != nil && p.link.unserved(before) {
		overdue.Stop()
		r, err = p.again()
	}
	if err != nil {
		if errors.Is(err, errTooLong) || errors.Is(err, errNoReply) {
			a.cut(p.link, ask.CauseReply)
		}
		p.lost()
		return 0, err
	}
	p.end(r)
	r.finish()
	return r.status, nil
}

// again sends a request once more, on a connection of its own.
func (p *ping) again() (*answer, error) {
	a := p.client.attack
	ctx, cancel := context.WithTimeout(a.life, a.timeout)
	defer cancel()
	return p.client.postAside(ctx, p.head, p.body)
}

// ping is a request under way.
type ping struct {
	client  *client
	link    *link
	session string
	step    int
	id      uint64
	head    http.Header
	body    []byte
}

// begin makes the request that was due, nil if there is nobody to ask.
func (a *Attack) begin(due int64) *ping {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := mono.Now()
	a.tally.Late(due, now)
	// A timer goes off up to a tick after the instant, whatever the system does. Only what goes beyond counts as latency.
	due += min(max(now-due, 0), tick)
	a.tally.Expect(due)
	c := a.pick()
	if c == nil {
		return nil
	}
	p := &ping{client: c, link: c.link, session: c.session, step: a.script.Next()}
	p.id = a.tally.ID(p.step, due)
	var about work.Request
	p.body, about = a.script.As(int(p.client.index)).AppendStep(nil, p.step, p.id)
	p.head = c.header(about.Method, about.Name)
	c.underWay++
	if c.calls++; a.calls > 0 && c.calls >= a.calls {
		c.unverify()
		c.state, c.home = stateLeaving, 0
	}
	a.tally.N.Requests.Sent++
	return p
}

// pick returns the next verified client, nil if there is none at all.
func (a *Attack) pick() *client {
	if a.tally.N.Verified == 0 || a.closing {
		return nil
	}
	for {
		c := &a.clients[a.cursor]
		a.cursor = (a.cursor + 1) % len(a.clients)
		if c.state == stateVerified {
			return c
		}
	}
}

// lost notes that no answer came.
func (p *ping) lost() {
	a := p.client.attack
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tally.N.Requests.Lost++
}

// end notes what became of the request.
func (p *ping) end(r *answer) {
	a := p.client.attack
	cause := r.cause()
	var reply ask.Reply
	if cause == ask.CauseNone {
		if reply = a.script.Parse(r.line); reply.ID == p.id {
			cause = reply.Cause()
		} else {
			cause = ask.CauseReply
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if cause == ask.CauseNone {
		p.answered(r, reply)
		return
	}
	lost := p.session != "" && r.forgotten()
	if lost {
		cause = ask.CauseSession
	}
	a.tally.Refuse(cause)
	if lost {
		p.lostSession()
	}
}

// answered notes an answer that is as it should be, but for the name of its node.
func (p *ping) answered(r *answer, reply ask.Reply) {
	a, node := p.client.attack, p.client.node
	name, ok := a.named(r, reply)
	switch {
	case ok:
		node = a.tally.Node([]byte(name))
	case a.script.Work().Naming == work.ByHeader || p.step == work.Verification:
		a.tally.Refuse(ask.CauseReply)
		return
	}
	a.tally.Answer(p.id, node, p.client.node)
}

// lostSession has the client begin another session on its connection, unless it does so already.
func (p *ping) lostSession() {
	a, c := p.client.attack, p.client
	if c.state != stateVerified || c.link != p.link || c.session != p.session {
		return
	}
	a.tally.N.Sessions.Lost++
	c.session = ""
	c.unverify()
	c.displaced()
	c.try(func() { c.renew(p.link) })
}

// depart says that nothing of the request's connection is in use any more. If that was what the client waited for to leave,
// it leaves.
func (p *ping) depart() {
	a, c := p.client.attack, p.client
	a.mu.Lock()
	c.underWay--
	leaves, home := c.state == stateLeaving && c.underWay == 0 && c.link == p.link, c.home
	if leaves && home == 0 {
		a.spawn(func() { c.anew(p.link) })
	}
	a.mu.Unlock()
	if leaves && home != 0 {
		a.hangUp(p.link)
	}
}
