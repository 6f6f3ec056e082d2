package sse

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
)

func TestEndpointIsTagged(t *testing.T) {
	ring, err := affinity.New(make([]byte, affinity.MinKey))
	if err != nil {
		t.Fatal(err)
	}
	ring.SetNodes([]string{"n0", "n1"})
	tag := func(uri string) string {
		return string(ring.AppendEndpoint(nil, []byte(uri), affinity.Place{Node: 1, Since: 7}))
	}
	long := strings.Repeat("x", maxEndpointEvent+1)
	for _, test := range []struct{ name, stream, want string }{
		{"usual", "event: endpoint\ndata: /sse?sessionid=1\n\nevent: message\ndata: {}\n\n", "event: endpoint\ndata: " + tag("/sse?sessionid=1") + "\n\nevent: message\ndata: {}\n\n"},
		{"carriage returns", "event:endpoint\r\ndata:/sse\r\n\r\n", "event:endpoint\r\ndata:" + tag("/sse") + "\r\n\r\n"},
		{"carriage returns alone", "event: endpoint\rdata: /sse\r\r", "event: endpoint\rdata: " + tag("/sse") + "\r\r"},
		{"ends of all kinds", ":\r\n\n\rid: 1\r\r\nevent: endpoint\ndata: /sse\r\r\n", ":\r\n\n\rid: 1\r\r\nevent: endpoint\ndata: " + tag("/sse") + "\r\r\n"},
		{"data first", "data: /sse\nid: 1\nevent: endpoint\n\n", "data: " + tag("/sse") + "\nid: 1\nevent: endpoint\n\n"},
		{"comments before", ": hello\n\n\n:\nevent: endpoint\ndata: /a\n\n", ": hello\n\n\n:\nevent: endpoint\ndata: " + tag("/a") + "\n\n"},
		{"only the first", "event: message\ndata: 1\n\nevent: endpoint\ndata: /a\n\n", "event: message\ndata: 1\n\nevent: endpoint\ndata: /a\n\n"},
		{"two lines", "event: endpoint\ndata: /a\ndata: /b\n\n", "event: endpoint\ndata: /a\ndata: /b\n\n"},
		{"no data", "event: endpoint\n\nevent: endpoint\ndata: /a\n\n", "event: endpoint\n\nevent: endpoint\ndata: " + tag("/a") + "\n\n"},
		{"cut", "event: endpoint\ndata: /a\n", "event: endpoint\ndata: /a\n"},
		{"too long", "event: endpoint\ndata: /" + long, "event: endpoint\ndata: /" + long},
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			var f EndpointFilter
			var got []byte
			for rest := []byte(test.stream); len(rest) > 0; {
				n := min(step, len(rest))
				got = f.Next(got, rest[:n], ring, affinity.Place{Node: 1, Since: 7})
				rest = rest[n:]
			}
			if held := len(f.held); held > 0 && test.name != "cut" {
				t.Errorf("%s by %d: %d bytes are held back", test.name, step, held)
			}
			if got = f.Flush(got); string(got) != test.want {
				t.Errorf("%s by %d: %.100q, want %.100q", test.name, step, got, test.want)
			}
		}
	}
}

func FuzzEndpointFilter(f *testing.F) {
	f.Add([]byte("event: endpoint\ndata: /sse?sessionid=1\n\nevent: message\ndata: {}\n\n"), 3)
	f.Add([]byte("\n\n:x\r\n\r\ndata:\n\n"), 1)
	ring, err := affinity.New(make([]byte, affinity.MinKey))
	if err != nil {
		f.Fatal(err)
	}
	ring.SetNodes([]string{"n0"})
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		at := 0
		if len(stream) > 0 && cut > 0 {
			at = cut % len(stream)
		}
		var whole, parts EndpointFilter
		one := whole.Flush(whole.Next(nil, stream, ring, affinity.Place{Since: 7}))
		two := parts.Next(nil, stream[:at], ring, affinity.Place{Since: 7})
		two = parts.Flush(parts.Next(two, stream[at:], ring, affinity.Place{Since: 7}))
		if len(stream) <= maxEndpointEvent && !bytes.Equal(one, two) {
			t.Fatalf("%q and %q, cut at %d", one, two, at)
		}
		if len(one) > len(stream)+len("/.~")+affinity.TagLen || len(one) < len(stream) && !bytes.Contains(stream, []byte("//")) && !bytes.Contains(stream, []byte("#")) {
			t.Fatalf("%d bytes of %d", len(one), len(stream))
		}
	})
}

// Other streams are not held back: an event that cannot be an endpoint passes before it is whole.
func TestOtherStreamsAreNotHeldBack(t *testing.T) {
	for _, first := range []string{"data: {\"jsonrpc\"", "event: message\n", "data:[1", "id: 1\nevent: x\nda", ": comment\n\n", "\n"} {
		var f EndpointFilter
		if got := string(f.Next(nil, []byte(first), nil, affinity.Place{})); got != first {
			t.Errorf("of %q there is %q", first, got)
		}
	}
}

// An endpoint of the client's own origin is the same URI, and one of another becomes one of its own.
func FuzzHereURI(f *testing.F) {
	for _, uri := range []string{
		"/message?sessionId=1", "http://localhost:3001/message?a=b#c", "HTTPS://h", "//h?x", "?x", "a/b:c", "a:b", "urn:x:y", "http:/x", "", "#",
	} {
		f.Add(uri)
	}
	if got := string(hereURI([]byte("http://h//x"))); got != "/.//x" {
		f.Errorf("//x became %q", got)
	}
	base := &url.URL{Scheme: "http", Host: "balancer", Path: "/sse"}
	f.Fuzz(func(t *testing.T, uri string) {
		want, err := url.Parse(uri)
		if err != nil || want.Opaque != "" {
			return
		}
		here, err := base.Parse(string(hereURI([]byte(uri))))
		if err != nil {
			t.Fatalf("%q became %q: %v", uri, hereURI([]byte(uri)), err)
		}
		if want.Host == "" && (want.Scheme != "" || strings.HasPrefix(uri, "//")) || strings.HasPrefix(want.Path, "//") {
			return // a URI of no server, or one that the library reads in its own way
		}
		want.Scheme, want.Host, want.User, want.Fragment, want.RawFragment = base.Scheme, "", nil, "", ""
		resolved := base.ResolveReference(&url.URL{Path: want.Path, RawPath: want.RawPath, RawQuery: want.RawQuery, ForceQuery: want.ForceQuery})
		if here.Host != base.Host || here.EscapedPath() != resolved.EscapedPath() && want.Path != "" || here.RawQuery != resolved.RawQuery {
			t.Errorf("%q became %q, which leads to %v, want %v", uri, hereURI([]byte(uri)), here, resolved)
		}
	})
}
