package node

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Whoever gives way is what a search through all sessions finds: first those never used, of the source with most of
// them; then the one idle for longest of the source with most.
func TestSessionsGiveWay(t *testing.T) {
	synctest.Test(t, sessionsGiveWay) // no time passes
}

func sessionsGiveWay(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	all := newSessions(50)
	var now []*session
	ended := map[string]bool{}
	next := 0
	for range 20_000 {
		switch n := random.IntN(10); {
		case n < 3 || len(now) == 0:
			address := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(8) * random.IntN(4))})
			var want *session
			if len(now) == all.most {
				want = firstToGo(now)
			}
			s := all.admit(address)
			id := fmt.Sprint(next)
			next++
			if !all.begin(s, id, func() { ended[id] = true }) {
				t.Fatal("a newcomer gives way")
			}
			if want != nil {
				if !ended[want.id] {
					t.Fatalf("%s of %s, %d, does not give way", want.id, want.source.address, want.state)
				}
				now = append(now[:0:0], now...)
				for i, s := range now {
					if s == want {
						now = append(now[:i], now[i+1:]...)
						break
					}
				}
			}
			now = append(now, s)
		case n < 6:
			all.enter(now[random.IntN(len(now))].id)
		case n < 9:
			all.leave(now[random.IntN(len(now))].id)
		default:
			i := random.IntN(len(now))
			all.remove(now[i])
			now = append(now[:i], now[i+1:]...)
		}
		if all.len() != len(now) || len(all.byID) != len(now) {
			t.Fatalf("%d sessions are counted, %d known by id, of %d", all.len(), len(all.byID), len(now))
		}
	}
	for _, s := range now {
		all.remove(s)
		all.remove(s)
	}
	if all.len() != 0 || len(all.sources) != 0 || len(all.order) != 0 || len(all.byID) != 0 {
		t.Errorf("%d sessions of %d sources are left", all.len(), len(all.sources))
	}
}

func firstToGo(now []*session) (first *session) {
	unused, held := map[*source]int{}, map[*source]int{}
	for _, s := range now {
		held[s.source]++
		if s.state == fresh {
			unused[s.source]++
		}
	}
	before := func(a, b *session) bool {
		if a.state != b.state {
			return a.state < b.state
		}
		return a.used < b.used
	}
	for _, s := range now {
		switch {
		case first == nil,
			unused[s.source] > unused[first.source],
			unused[s.source] == unused[first.source] && held[s.source] > held[first.source],
			s.source == first.source && before(s, first):
			first = s
		case unused[s.source] == unused[first.source] && held[s.source] == held[first.source] && s.source != first.source:
			if s.source.first().used < first.source.first().used {
				first = s
			}
		}
	}
	return first
}

func TestSourceOf(t *testing.T) {
	for _, test := range []struct {
		peer, forwarded, want string
	}{
		{"10.0.0.1:5", "", "10.0.0.1"},
		{"10.0.0.1:5", "192.0.2.1", "10.0.0.1"}, // who is not on this machine is not believed
		{"127.0.0.1:5", "", "127.0.0.1"},
		{"127.0.0.1:5", "192.0.2.1", "192.0.2.1"},
		{"127.0.0.1:5", "192.0.2.1, 192.0.2.2", "192.0.2.2"},
		{"127.0.0.1:5", "rubbish", "127.0.0.1"},
		{"[::1]:5", "2001:db8:1:2:3::4", "2001:db8:1:2::"},
		{"[2001:db8:1:2::9]:5", "", "2001:db8:1:2::"},
		{"[::ffff:10.0.0.1]:5", "", "10.0.0.1"},
		{"@", "", "invalid IP"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		r.RemoteAddr = test.peer
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := sourceOf(r).String(); got != test.want {
			t.Errorf("%s, forwarded for %q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}

// begin begins a session for a source, and returns its id.
func (s *site) begin(t *testing.T, source string) (id string) {
	t.Helper()
	resp := s.post(t, source, "", initialize)
	defer resp.Body.Close()
	if id = resp.Header.Get(mcp.HeaderSessionID); resp.StatusCode != http.StatusOK || id == "" {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, text)
	}
	return id
}

func (s *site) post(t *testing.T, source, session, text string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.http+"/mcp", strings.NewReader(text))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("X-Forwarded-For", source)
	if session != "" {
		r.Header.Set(mcp.HeaderSessionID, session)
	}
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	return resp
}

// uses calls a tool in a session.
func (s *site) uses(t *testing.T, session string) (status int) {
	t.Helper()
	resp := s.post(t, "192.0.2.200", session, call(1, "whoami", "{}"))
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

// One who takes all sessions keeps nobody out, and of others only what was never used is lost.
func TestOneSourceTakesAllSessions(t *testing.T) {
	s := startWeb(t)
	s.sessions.most = 20
	good := s.begin(t, "192.0.2.1")
	if status := s.uses(t, good); status != http.StatusOK {
		t.Fatal(status)
	}
	var taken []string
	for range 60 {
		taken = append(taken, s.begin(t, "192.0.2.66"))
	}
	newcomer := s.begin(t, "192.0.2.2")
	if status := s.uses(t, newcomer); status != http.StatusOK {
		t.Errorf("the newcomer's session: %d", status)
	}
	if status := s.uses(t, good); status != http.StatusOK {
		t.Errorf("the session of before: %d", status)
	}
	if status := s.uses(t, taken[0]); status != http.StatusNotFound {
		t.Errorf("the oldest session that was never used: %d", status)
	}
	if n := s.sessions.len(); n != 20 {
		t.Errorf("%d sessions", n)
	}

	// Sessions that their clients end make room, too.
	for _, id := range append(taken[len(taken)-30:], good, newcomer) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.http+"/mcp", nil)
		must(t, err)
		r.Header.Set(mcp.HeaderSessionID, id)
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		resp.Body.Close()
	}
	waitFor(t, func() bool { return s.sessions.len() == 0 })
	if len(s.sessions.sources) != 0 {
		t.Errorf("%d sources are left", len(s.sessions.sources))
	}

	// What does not begin a session takes no place.
	resp := s.post(t, "192.0.2.3", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	resp.Body.Close()
	waitFor(t, func() bool { return s.sessions.len() == 0 })
}

// Sessions whose clients say nothing after initialize end soon, and others do not.
func TestUnusedSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newSessions(10)
		ended := make(map[string]bool)
		begin := func(id string) *session {
			s := table.admit(netip.MustParseAddr("192.0.2.1"))
			table.begin(s, id, func() { ended[id] = true })
			return s
		}
		begin("unused")
		begin("used")
		begin("busy")
		table.remove(begin("over"))
		time.Sleep(unusedTimeout - time.Second)
		table.enter("used")
		table.leave("used")
		table.enter("busy")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := table.len(); n != 2 || len(ended) != 1 || !ended["unused"] {
			t.Errorf("%d are left, ended are %v", n, ended)
		}
	})
}

// Where those that were never used are many, the oldest ends as another one begins, if its client has had the time to use
// it; the next is of the source that has most.
func TestManyUnusedSessionsEndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newSessions(50)
		var ended []string
		begin := func(address, id string) {
			s := table.admit(netip.MustParseAddr(address))
			table.begin(s, id, func() { ended = append(ended, id) })
		}
		expect := func(when string, want ...string) {
			t.Helper()
			if !slices.Equal(ended, want) {
				t.Errorf("%s: ended are %v, want %v", when, ended, want)
			}
			ended = nil
		}
		begin("192.0.2.1", "used")
		table.enter("used")
		table.leave("used")
		for i := range 6 { // more than a tenth
			begin("192.0.2.1", fmt.Sprint(i))
		}
		time.Sleep(unusedSoon)
		begin("192.0.2.2", "soon")
		expect("at first")
		time.Sleep(time.Second)
		begin("192.0.2.2", "a")
		expect("one more than may be", "0")
		begin("192.0.2.3", "b")
		expect("another", "1")
		begin("192.0.2.3", "c")
		begin("192.0.2.3", "d")
		expect("two more", "2", "3")
		for _, id := range []string{"soon", "a", "b"} {
			table.enter(id)
			table.leave(id)
		}
		begin("192.0.2.4", "e")
		expect("where few are unused")
		for id := range maps.Clone(table.byID) {
			table.remove(table.byID[id])
		}
		if table.fresh != 0 || table.len() != 0 {
			t.Errorf("%d are left, %d unused", table.len(), table.fresh)
		}
	})
}
