package http1

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		n    name
		want string
	}{
		{connection, "connection"}, {contentLength, "content-length"}, {expect, "expect"}, {host, "host"},
		{trailer, "trailer"}, {transferEncoding, "transfer-encoding"}, {upgrade, "upgrade"},
	} {
		if names[c.n].name != c.want {
			t.Errorf("%d is %s, want %s", c.n, names[c.n].name, c.want)
		}
	}
	for i, n := range names {
		if i == 0 {
			continue
		}
		if got := known([]byte(strings.ToUpper(n.name))); got != name(i) {
			t.Errorf("%s is found as %d, want %d", n.name, got, i)
		}
		if n.name != strings.ToLower(n.name) {
			t.Errorf("%s is not in lower case", n.name)
		}
		if hops, ends := n.rules&hop != 0, n.rules&endToEnd != 0; hops == ends {
			t.Errorf("%s: a field is either hop-by-hop or end-to-end", n.name)
		}
	}
	for _, s := range []string{"a", "hos", "hosts", "hosd", "content-lengti", strings.Repeat("x", 300)} {
		if got := known(s); got != other {
			t.Errorf("%s is found as %s", s, names[got].name)
		}
	}
}

func TestGetAndHop(t *testing.T) {
	var r Request
	const head = "GET / HTTP/1.1\r\nHost: a\r\ncookie: 1\r\nCOOKIE: 2\r\nX-Other: 3\r\nx-OTHER: 4\r\nX-Empty:\r\n" +
		"X-Own: 5\r\nx-own: 6\r\nX-One: 7\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nConnection: x-OWN, keep-alive, te\r\nProxy-Connection: close\r\n\r\n"
	if _, err := r.Parse([]byte(head)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"host": "a", "cookie": "1", "x-other": "3", "x-own": "5", "te": "trailers"} {
		if got := string(r.Get(name)); got != want {
			t.Errorf("Get(%s) = %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"", "x", "accept", "content-length"} {
		if got := r.Get(name); got != nil {
			t.Errorf("Get(%s) = %q, want none", name, got)
		}
	}
	if got := r.Get("x-empty"); got == nil || len(got) > 0 {
		t.Errorf("Get(x-empty) = %#v, want an empty value", got)
	}
	var kept []string
	for i, f := range r.Fields {
		if !r.Hop(i) {
			kept = append(kept, string(f.Name))
		}
	}
	if got := strings.Join(kept, " "); got != "Host cookie COOKIE X-Other x-OTHER X-Empty X-One" {
		t.Errorf("forwarded: %s", got)
	}
	if !r.KeepAlive {
		t.Error("closed by Proxy-Connection")
	}
	// Nothing of it is left in the next one.
	if _, err := r.Parse([]byte("GET /b HTTP/1.0\r\nX-Own: 7\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if len(r.Fields) != 1 || r.Hop(0) || r.Get("cookie") != nil || r.Host != nil || r.KeepAlive {
		t.Errorf("left of the last request: %+v", r.Fields)
	}
}

// TestHopOfTheLastField has the option at the far end of the bit set.
func TestHopOfTheLastField(t *testing.T) {
	var r Request
	head := "GET / HTTP/1.1\r\nHost: a\r\nConnection: last\r\n" + strings.Repeat("a: b\r\n", MaxFields-3) + "Last: 1\r\n\r\n"
	if _, err := r.Parse([]byte(head)); err != nil {
		t.Fatal(err)
	}
	for i := range r.Fields {
		if want := i == 1 || i == MaxFields-1; r.Hop(i) != want {
			t.Errorf("Hop(%d) = %v", i, !want)
		}
	}
}

func TestImitations(t *testing.T) {
	for s, want := range map[string]bool{
		"content_length": true, "Transfer_encoding": true, "MCP_Session_ID": true, "x-forwarded_for": true, "connection_": false,
		"content_type": false, "_": false, "user_agent": false, "a_b": false, strings.Repeat("_", 99): false,
	} {
		if got := imitates([]byte(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}

// TestIsValue compares the fast check with the table at every place of a value.
func TestIsValue(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				v := []byte(strings.Repeat("\t", length))
				v[at] = byte(c)
				if want := span(v, inValue) == length; isValue(v) != want {
					t.Fatalf("isValue(%q) = %v", v, !want)
				}
			}
		}
	}
}

func TestRepeated(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\nContent-Type: a\r\nX: b\r\nX: c\r\ncontent-type: d\r\nContent-Encoding: e\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"content-type": true, "content-encoding": false, "host": false, "date": false} {
		if r.Repeated(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
