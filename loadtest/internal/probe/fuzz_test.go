package probe

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// Events of one line of data each come out as they went in, whatever ends the lines.
func TestEvents(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\r"} {
		text := strings.ReplaceAll(":comment\nevent: endpoint\ndata: /m?x=1\n\ndata:a\ndata: b\nid: 7\n\nevent: none\n\ndata\n\n\n", "\n", end)
		in := newEvents(strings.NewReader(text + "\n"))
		for _, want := range []event{{"endpoint", []byte("/m?x=1")}, {"message", []byte("a\nb")}, {"message", nil}} {
			if got, err := in.next(); err != nil || got.kind != want.kind || !bytes.Equal(got.data, want.data) {
				t.Errorf("%q: %s %q, %v", end, got.kind, got.data, err)
			}
		}
		if _, err := in.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v", end, err)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("event: endpoint\r\ndata: x\r\n\r\ndata: a\rdata: b\r\r\n"))
	f.Add([]byte(":\n\ndata\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		var all []event
		for in := newEvents(bytes.NewReader(text)); ; {
			e, err := in.next()
			if err != nil {
				break
			}
			all = append(all, e)
			out.WriteString("event: " + e.kind + "\n")
			for _, line := range bytes.Split(e.data, []byte("\n")) {
				out.WriteString("data: " + string(line) + "\n")
			}
			out.WriteString("\n")
		}
		in := newEvents(&out)
		for _, want := range all {
			got, err := in.next()
			if err != nil || got.kind != want.kind || !bytes.Equal(got.data, want.data) {
				t.Fatalf("%q %q, want %q %q: %v", got.kind, got.data, want.kind, want.data, err)
			}
		}
	})
}

// Where to post is never at another origin.
func FuzzRelative(f *testing.F) {
	for _, seed := range []string{"/m?x=1", "m", "//other/m", "http://other/m", "https://h:1/", "http://h:1/x", "", "?a", "\x00", "http:\\\\o"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		got, err := relative("http://h:1/sse", reference)
		if err == nil && got != "http://h:1" && !strings.HasPrefix(got, "http://h:1/") && !strings.HasPrefix(got, "http://h:1?") {
			t.Fatalf("%q leads to %q", reference, got)
		}
	})
}

func TestNameHidesTheQuery(t *testing.T) {
	to, err := target.Parse("https://[::1]:8443/mcp?key=s3cret")
	if err != nil {
		t.Fatal(err)
	}
	if got := Name(to); got != "https://[::1]:8443/mcp?…" {
		t.Error(got)
	}
}
