package affinity

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRing(t testing.TB, seed byte, names ...string) *Ring {
	t.Helper()
	key := make([]byte, MinKey)
	key[0] = seed
	r, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	r.SetNodes(names)
	return r
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("erlmcp%d", i+1)
	}
	return names
}

func TestShortKey(t *testing.T) {
	if _, err := New(make([]byte, MinKey-1)); err == nil || !strings.Contains(err.Error(), "31 bytes") {
		t.Errorf("New: %v", err)
	}
}

// TestTagsStay: sessions and cookies outlive a balancer's update, or all clients
// would have to begin anew. The values are computed by other programs.
func TestTagsStay(t *testing.T) {
	r := newRing(t, 1, "erlmcp1", "erlmcp2")
	for _, c := range [][2]string{
		{string(r.AppendSession(nil, []byte("abc"), 1, 0x01020304)), "abc~AQIDBFKHhU7_NQBO"},
		{string(r.AppendCookie(nil, 1)), "lvcbI7BL6bFY75xl"},
		{string(r.AppendEndpoint(nil, []byte("/sse?sessionid=1"), Place{Node: 1, Since: 0x01020304})), "/sse?sessionid=1~AQIDBD_KTC744wL8"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s, want %s", c[0], c[1])
		}
	}
}

// TestRoundTrip: whatever the id, its node and it are found again, by every ring
// with the key, however the nodes are ordered; by no ring with another key, and for
// no other purpose.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9.-]{1,12}`), 1, 64, rapid.ID).Draw(t, "names")
		id := rapid.SliceOfN(rapid.ByteRange(0x21, 0x7e), 0, 100).Draw(t, "id")
		i := rapid.IntRange(0, len(names)-1).Draw(t, "node")
		key := rapid.SliceOfN(rapid.Byte(), MinKey, 100).Draw(t, "key")
		ring, elsewhere := mustNew(t, key), mustNew(t, key)
		ring.SetNodes(names)
		moved := append(slices.Clone(names[i:]), names[:i]...)
		elsewhere.SetNodes(append([]string{""}, moved...))
		key[0]++
		stranger := mustNew(t, key)
		stranger.SetNodes(names)

		for _, p := range purposes {
			tagged := p.tag(ring, id, i)
			if !bytes.HasPrefix(tagged, []byte("kept ")) {
				t.Fatalf("%s: what was there is lost: %q", p.name, tagged)
			}
			tagged = tagged[len("kept "):]
			for _, c := range tagged {
				if c < 0x21 || c > 0x7e {
					t.Fatalf("%s: %q has %#x", p.name, tagged, c)
				}
			}
			for _, at := range []struct {
				ring *Ring
				node int
			}{{ring, i}, {elsewhere, 1}, {stranger, Unknown}} {
				got, node, ok := p.find(at.ring, tagged)
				if !ok || node != at.node || p.carries && !bytes.Equal(got, id) {
					t.Fatalf("%s: %q is %q at %d, %v, want %q at %d", p.name, tagged, got, node, ok, id, at.node)
				}
			}
			for _, other := range purposes {
				if other.name == p.name {
					continue
				}
				for _, disguise := range [][]byte{tagged, tagged[len(tagged)-TagLen:], slices.Concat(id, []byte("~"), tagged[len(tagged)-TagLen:])} {
					if _, node, _ := other.find(ring, disguise); node != Unknown {
						t.Fatalf("a tag for %s passes for %s", p.name, other.name)
					}
				}
			}
		}
	})
}

// purposes are the pairs of functions.
var purposes = []struct {
	name    string
	carries bool // what is tagged
	tag     func(r *Ring, id []byte, node int) []byte
	find    func(r *Ring, tagged []byte) ([]byte, int, bool)
}{
	{"sessions", true, func(r *Ring, id []byte, node int) []byte {
		return r.AppendSession([]byte("kept "), id, node, began)
	}, dated((*Ring).Session)},
	{"endpoints", true, func(r *Ring, id []byte, node int) []byte {
		return r.AppendEndpoint([]byte("kept "), id, Place{Node: node, Since: began})
	}, endpointAt(false)},
	{"endpoints at the plain port", true, func(r *Ring, id []byte, node int) []byte {
		return r.AppendEndpoint([]byte("kept "), id, Place{Node: node, Plain: true, Since: began})
	}, endpointAt(true)},
	{"cookies", false, func(r *Ring, _ []byte, node int) []byte {
		return r.AppendCookie([]byte("kept "), node)
	}, func(r *Ring, value []byte) ([]byte, int, bool) {
		node, ok := r.Cookie(value)
		return nil, node, ok
	}},
}

// endpointAt finds the endpoints at one of the ports.
func endpointAt(plain bool) func(r *Ring, tagged []byte) ([]byte, int, bool) {
	return func(r *Ring, tagged []byte) ([]byte, int, bool) {
		target, at, ok := r.Endpoint(tagged)
		switch {
		case at.Node == Unknown, at.Plain != plain:
			return target, Unknown, ok
		case at.Since != began:
			return target, -2, ok
		}
		return target, at.Node, ok
	}
}

// began is when what the tests tag began.
const began = Time(0xfffffffe)

// dated leaves the time out, and the node if the time is another one.
func dated(find func(*Ring, []byte) ([]byte, int, Time, bool)) func(*Ring, []byte) ([]byte, int, bool) {
	return func(r *Ring, tagged []byte) ([]byte, int, bool) {
		id, node, since, ok := find(r, tagged)
		if node != Unknown && since != began {
			node = -2
		}
		return id, node, ok
	}
}

func mustNew(t *rapid.T, key []byte) *Ring {
	r, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestForgery changes every letter of a tagged session: of the id, of the
// separator, of the tag.
func TestForgery(t *testing.T) {
	r := newRing(t, 1, manyNames(64)...)
	tagged := r.AppendSession(nil, []byte("session"), 3, began)
	for i := range tagged {
		for c := byte(0x21); c < 0x7f; c++ {
			forged := bytes.Clone(tagged)
			forged[i] = c
			if _, node, _, _ := r.Session(forged); (node == 3) != (c == tagged[i]) || node != 3 && node != Unknown {
				t.Fatalf("%s leads to %d", forged, node)
			}
		}
	}
	// The tag of another session of the same node.
	other := r.AppendSession(nil, []byte("other"), 3, began)
	moved := append([]byte("session"), other[len("other"):]...)
	if id, node, _, ok := r.Session(moved); string(id) != "session" || node != Unknown || !ok {
		t.Errorf("a moved tag leads to %d", node)
	}
	if string(other[len("other"):]) == string(tagged[len("session"):]) {
		t.Error("two sessions have the same tag")
	}
}

func TestWithoutTag(t *testing.T) {
	r := newRing(t, 1, manyNames(4)...)
	for _, text := range []string{
		"", "~", "8ac1f0c2-5a1e-4b7c-9d3e-2f6f0c1a7b55", "id~", "AAAAAAAAAAAAAAAA", "id-AAAAAAAAAAAAAAAA", "id~AAAAAAAAAAAAAAA",
		"id~AAAAAAAAAAAAAAA=", "id~AAAAAAAAAAAAAAA+", "id~AAAAAAAAAAAAAA\r\n", "id~AAAAAAAAAAAAAAAAA", strings.Repeat("~", TagLen+1),
	} {
		for _, p := range purposes[:3] {
			if id, node, ok := p.find(r, []byte(text)); id != nil || node != Unknown || ok {
				t.Errorf("%q: %q at %d, %v, want no tag", text, id, node, ok)
			}
		}
	}
	for _, text := range []string{"", "erlmcp1", "AAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAA\r\n", "AAAAAAAAAAAAAAA~"} {
		if node, ok := r.Cookie([]byte(text)); node != Unknown || ok {
			t.Errorf("cookie %q: %d, %v, want no tag", text, node, ok)
		}
	}
}

// TestNodeGone: a tag of a node that was removed is known to be one, and so is the
// tag that an answer of such a node gets.
func TestNodeGone(t *testing.T) {
	r := newRing(t, 1, "a", "b")
	for _, p := range purposes {
		before := p.tag(r, []byte("id"), 1)
		r.SetNodes([]string{"a", ""})
		for _, tagged := range [][]byte{before, p.tag(r, []byte("id"), 1), p.tag(r, []byte("id"), 2), p.tag(r, []byte("id"), Unknown)} {
			id, node, ok := p.find(r, tagged[len("kept "):])
			if node != Unknown || !ok || p.carries && string(id) != "id" {
				t.Errorf("%s: %q is %q at %d, %v", p.name, tagged, id, node, ok)
			}
		}
		r.SetNodes([]string{"a", "b"})
		if _, node, _ := p.find(r, before[len("kept "):]); node != 1 {
			t.Errorf("%s: the node is back, but its tag leads to %d", p.name, node)
		}
	}
}

// TestTaggedTwice: balancers may stand behind each other.
func TestTaggedTwice(t *testing.T) {
	r := newRing(t, 1, "a", "b")
	once := r.AppendSession(nil, []byte("id~x"), 0, began)
	twice := r.AppendSession(nil, once, 1, began)
	id, node, _, ok := r.Session(twice)
	if string(id) != string(once) || node != 1 || !ok {
		t.Fatalf("%q at %d, %v", id, node, ok)
	}
	if id, node, _, _ = r.Session(id); string(id) != "id~x" || node != 0 {
		t.Errorf("%q at %d", id, node)
	}
	if cap(id) > len(id) {
		t.Error("to append to an id would overwrite its tag")
	}
}

func TestNothingIsAllocated(t *testing.T) {
	r := newRing(t, 1, manyNames(64)...)
	id, buf := []byte("8ac1f0c2-5a1e-4b7c-9d3e-2f6f0c1a7b55"), make([]byte, 0, 256)
	if allocs := testing.AllocsPerRun(100, func() {
		_, session, _, _ := r.Session(r.AppendSession(buf, id, 60, began))
		_, endpoint, _ := r.Endpoint(r.AppendEndpoint(buf, id, Place{60, true, began}))
		cookie, _ := r.Cookie(r.AppendCookie(buf, 60))
		if session != 60 || endpoint != (Place{60, true, began}) || cookie != 60 {
			t.Fatal(session, endpoint, cookie)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzFind: what is not a tag is never taken for one of a node.
func FuzzFind(f *testing.F) {
	r := newRing(f, 1, manyNames(4)...)
	f.Add([]byte("id~AAAAAAAAAAAAAAAA"))
	f.Add([]byte("AAAAAAAAAAAAAAAA"))
	f.Add(r.AppendSession(nil, []byte("id"), 2, began))
	f.Add(r.AppendEndpoint(nil, []byte("/sse?id=1"), Place{Node: 2, Since: began}))
	f.Add(r.AppendEndpoint(nil, []byte("/sse?id=1"), Place{Node: 2, Plain: true, Since: began}))
	f.Add(r.AppendCookie(nil, 2))
	f.Fuzz(func(t *testing.T, p []byte) {
		if id, node, since, ok := r.Session(p); node != Unknown && (!ok || !bytes.Equal(r.AppendSession(nil, id, node, since), p)) {
			t.Errorf("session %q: %q at %d", p, id, node)
		}
		if uri, at, ok := r.Endpoint(p); at.Node != Unknown && (!ok || !bytes.Equal(r.AppendEndpoint(nil, uri, at), p)) {
			t.Errorf("endpoint %q: %q at %v", p, uri, at)
		}
		if node, ok := r.Cookie(p); node != Unknown && (!ok || !bytes.Equal(r.AppendCookie(nil, node), p)) {
			t.Errorf("cookie %q: %d", p, node)
		}
		for node := range 4 {
			if id, got, since, ok := r.Session(r.AppendSession(nil, p, node, began)); !bytes.Equal(id, p) || got != node || since != began || !ok {
				t.Errorf("session %q of %d: %q at %d, %v", p, node, id, got, ok)
			}
		}
	})
}
