package node

import (
	"container/heap"
	"container/list"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// sessions are those over Streamable HTTP, by who has begun them. When there are as many as may be, a newcomer takes
// the place of another: of the source with most sessions that were never used, or where all were, of the source with
// most. There those that were never used go first, then the one that is idle for longest. One that is not used within
// unusedTimeout ends, or within unusedSoon, where those take more than a tenth of the room.
//
//	initialize ──▶ fresh ──request──▶ busy ◀──request── idle
//	                                    └────answered────▶
type sessions struct {
	most int

	mu      sync.Mutex
	n       int
	fresh   int // of them
	byID    map[string]*session
	sources map[netip.Addr]*source
	order   sourceOrder
	clock   int64 // counts uses
}

// session is one of them. It belongs to its table.
type session struct {
	source *source
	id     string // "": initialize is being answered
	state  sessionState
	open   int // requests under way
	began  time.Time
	used   int64
	place  *list.Element // in source.by[state]
	close  func()
	unused *time.Timer // ends it
}

// unusedTimeout is how long a session lives whose client asks nothing after initialize: the next it has to say, that it
// is initialized, takes it no time. Still somebody may try a server by hand.
const (
	unusedTimeout = time.Minute
	unusedSoon    = 5 * time.Second
	unusedPart    = 10 // of the room, as a divisor
)

type sessionState int

// In the order in which they give way.
const (
	fresh sessionState = iota
	idle
	busy
	sessionStates
)

// source is who has sessions. Each list is in the order of use.
type source struct {
	address netip.Addr
	by      [sessionStates]list.List
	place   int // in sessions.order
}

func newSessions(most int) *sessions {
	return &sessions{most: most, byID: make(map[string]*session), sources: make(map[netip.Addr]*source)}
}

// len is how many there are.
func (t *sessions) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// admit makes room for one more of a source.
func (t *sessions) admit(address netip.Addr) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n >= t.most || t.fresh > t.most/unusedPart && t.order[0].hasUnused(unusedSoon) {
		t.endLocked(t.order[0].first())
	}
	from := t.sources[address]
	if from == nil {
		from = &source{address: address}
		t.sources[address] = from
		heap.Push(&t.order, from)
	}
	s := &session{source: from, state: fresh, began: time.Now()}
	t.n++
	followSessions(t.n)
	t.placeLocked(s, fresh)
	return s
}

// begin gives a session that was admitted its name, and the means to end it. It has given way meanwhile if ok is false.
func (t *sessions) begin(s *session, id string, end func()) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.place == nil {
		return false
	}
	s.id, s.close = id, end
	s.unused = time.AfterFunc(unusedTimeout, func() { t.expire(s) })
	t.byID[id] = s
	return true
}

// enter notes that a request of a session has come. Who does so calls leave.
func (t *sessions) enter(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byID[id]; s != nil {
		s.open++
		s.unused.Stop()
		t.placeLocked(s, busy)
	}
}

func (t *sessions) leave(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[id]
	if s == nil || s.open == 0 {
		return
	}
	if s.open--; s.open == 0 {
		t.placeLocked(s, idle)
	}
}

// expire ends a session if it has never been used.
func (t *sessions) expire(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.place != nil && s.state == fresh {
		t.endLocked(s)
	}
}

func (t *sessions) endLocked(s *session) {
	t.removeLocked(s)
	if s.close != nil {
		s.close()
	}
}

// forgo forgets a session that was admitted and has not begun.
func (t *sessions) forgo(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.id == "" {
		t.removeLocked(s)
	}
}

// remove forgets a session that has ended.
func (t *sessions) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(s)
}

func (t *sessions) removeLocked(s *session) {
	if s.place == nil {
		return
	}
	from := s.source
	t.leaveStateLocked(s)
	if s.unused != nil {
		s.unused.Stop()
	}
	delete(t.byID, s.id)
	t.n--
	followSessions(t.n)
	if from.held() > 0 {
		heap.Fix(&t.order, from.place)
		return
	}
	heap.Remove(&t.order, from.place)
	delete(t.sources, from.address)
}

// placeLocked puts a session behind the others of its source in a state.
func (t *sessions) placeLocked(s *session, state sessionState) {
	from := s.source
	if s.place != nil {
		t.leaveStateLocked(s)
	}
	t.clock++
	s.state, s.used = state, t.clock
	s.place = from.by[state].PushBack(s)
	if state == fresh {
		t.fresh++
	}
	heap.Fix(&t.order, from.place)
}

func (t *sessions) leaveStateLocked(s *session) {
	s.source.by[s.state].Remove(s.place)
	s.place = nil
	if s.state == fresh {
		t.fresh--
	}
}

// held is how many sessions it has.
func (f *source) held() int { return f.by[fresh].Len() + f.by[idle].Len() + f.by[busy].Len() }

// hasUnused reports whether it has a session that was not used for so long after it had begun.
func (f *source) hasUnused(age time.Duration) bool {
	oldest := f.by[fresh].Front()
	return oldest != nil && time.Since(oldest.Value.(*session).began) > age
}

// first is the session that gives way before the others of its source.
func (f *source) first() *session {
	for i := range f.by {
		if front := f.by[i].Front(); front != nil {
			return front.Value.(*session)
		}
	}
	return nil
}

// sourceOrder is a heap: the source that gives way first is at the top.
type sourceOrder []*source

func (o sourceOrder) Len() int { return len(o) }

func (o sourceOrder) Less(i, j int) bool {
	a, b := o[i], o[j]
	if a.by[fresh].Len() != b.by[fresh].Len() {
		return a.by[fresh].Len() > b.by[fresh].Len()
	}
	if a.held() != b.held() {
		return a.held() > b.held()
	}
	first, second := a.first(), b.first()
	return first != nil && (second == nil || first.used < second.used)
}

func (o sourceOrder) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].place, o[j].place = i, j
}

func (o *sourceOrder) Push(x any) {
	f := x.(*source)
	f.place = len(*o)
	*o = append(*o, f)
}

func (o *sourceOrder) Pop() any {
	last := len(*o) - 1
	f := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	return f
}

// sourceOf is who has sent a request: the peer, or of a peer on this machine, such as the balancer, whom it names. It is
// the network of an IPv6 address, of which one client has as many as it likes.
func sourceOf(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	if addr.IsLoopback() {
		if named, ok := forwardedFor(r); ok {
			addr = named
		}
	}
	if addr.Is6() {
		if network, err := addr.WithZone("").Prefix(64); err == nil {
			addr = network.Addr()
		}
	}
	return addr
}

// forwardedFor is the last address that proxies name, which is the one that the nearest has seen.
func forwardedFor(r *http.Request) (addr netip.Addr, ok bool) {
	all := r.Header.Values("X-Forwarded-For")
	if len(all) == 0 {
		return addr, false
	}
	last := all[len(all)-1]
	addr, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
	return addr.Unmap(), err == nil
}

var errTooManySessions = errors.New("the node has as many sessions as it may have")

// admitted is the key of a session in the context of the request that begins it.
type admitted struct{}

// admitting has the session that a request begins counted for its source.
func (t *sessions) admitting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := t.admit(sourceOf(r))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), admitted{}, s)))
		t.forgo(s)
	})
}

// using has the requests of sessions counted.
func (t *sessions) using(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(mcp.HeaderSessionID)
		t.enter(id)
		defer t.leave(id)
		next.ServeHTTP(w, r)
	})
}

// count is an sdk.Middleware that has sessions begin when they are initialized, and end.
func (t *sessions) count(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
		result, err := next(ctx, method, r)
		s, _ := ctx.Value(admitted{}).(*session)
		its, ok := r.GetSession().(*sdk.ServerSession)
		if err != nil || method != mcp.MethodInitialize || s == nil || !ok {
			return result, err
		}
		end := func() { go func() { _ = its.Close() }() } // Close waits for requests under way
		if !t.begin(s, its.ID(), end) {
			end()
			return nil, errTooManySessions
		}
		go func() {
			_ = its.Wait() // how it has ended is of no interest
			t.remove(s)
		}()
		return result, err
	}
}
