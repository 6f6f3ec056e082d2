package prefork

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func pair(t *testing.T) (a, b *stream) {
	t.Helper()
	a, f, err := controlPair()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = openStream(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.close()
		b.close()
	})
	return a, b
}

func sendKind(t *testing.T, s *stream, kind string, data any) {
	t.Helper()
	line, err := encode(kind, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.send(line); err != nil {
		t.Fatal(err)
	}
}

func TestStreamKeepsOrderWhenQueued(t *testing.T) {
	a, b := pair(t)
	a.hold()
	const n = 3_000 // of 1 KB: far more than a socket takes at once
	for i := 1; i < n; i++ {
		sendKind(t, a, "n", []any{i, strings.Repeat("x", 1_000)})
		if i == n/2 {
			first, err := encode("n", []any{0})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.release(first); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		m, err := b.receive()
		if err != nil {
			t.Fatal(err)
		}
		if got := into[[]any](t, m.Data)[0]; got != float64(i) {
			t.Fatalf("message %d is %v", i, got)
		}
	}
	sendKind(t, b, "back", nil)
	if m, err := a.receive(); err != nil || m.Kind != "back" || m.Data != nil {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestStreamBacklog(t *testing.T) {
	a, _ := pair(t)
	a.limit = 10_000
	line, err := encode("n", strings.Repeat("x", 1_000))
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for err == nil {
		err = a.send(line)
		sent += len(line)
	}
	if !errors.Is(err, ErrBacklog) {
		t.Fatal(err)
	}
	if a.queued > a.limit {
		t.Errorf("%d bytes wait", a.queued)
	}
	// A gap would go unnoticed: nothing is sent any more, even where there was room.
	short, _ := encode("n", nil)
	if err := a.send(short); !errors.Is(err, ErrBacklog) {
		t.Errorf("after a gap: %v", err)
	}
	a.hold()
	if err := a.release(nil); !errors.Is(err, ErrBacklog) {
		t.Errorf("release after a gap: %v", err)
	}
}

func TestStreamEnds(t *testing.T) {
	a, b := pair(t)
	sendKind(t, a, "last", nil)
	a.close()
	if err := a.send([]byte("{}\n")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
	if m, err := b.receive(); err != nil || m.Kind != "last" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := b.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("receive at the end: %v", err)
	}
}

// A parent that dies with messages unread resets the stream; to the copy that is its end as well.
func TestReceiveAfterReset(t *testing.T) {
	a, b := pair(t)
	c := &Child{stream: b}
	if err := c.Send("unread", nil); err != nil {
		t.Fatal(err)
	}
	sendKind(t, a, "last", nil)
	a.close()
	if m, err := c.Receive(); err != nil || m.Kind != "last" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := c.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("receive after a reset: %v", err)
	}
	if err := c.Send("late", nil); err == nil {
		t.Error("sent to nobody")
	}
}

func TestOpenStreamRefusesOthers(t *testing.T) {
	if _, err := openStream(tempFile(t, "")); err == nil {
		t.Error("a file passed for a control stream")
	}
	f := listen(t, "127.0.0.1:0", 1)[0]
	fd, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{f, fd} {
		if _, err := openStream(f); err == nil {
			t.Errorf("%s passed for a control stream", f.Name())
		}
	}
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name, input string
		kind, data  string
		malformed   bool
	}{
		{name: "plain", input: `{"kind":"a"}` + "\n", kind: "a"},
		{name: "data", input: `{"kind":"a","data":{"b":[1]}}` + "\n", kind: "a", data: `{"b":[1]}`},
		{name: "longer than a buffer", input: `{"kind":"a","data":"` + strings.Repeat("x", 100_000) + `"}` + "\n",
			kind: "a", data: `"` + strings.Repeat("x", 100_000) + `"`},
		{name: "empty line", input: "\n", malformed: true},
		{name: "no JSON", input: "hello\n", malformed: true},
		{name: "no kind", input: "{}\n", malformed: true},
		{name: "torn", input: `{"kind":"a"}`},
		{name: "nothing", input: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := decode(bufio.NewReader(strings.NewReader(tt.input)))
			var malformed *malformedError
			switch {
			case tt.malformed:
				if !errors.As(err, &malformed) {
					t.Errorf("error %v", err)
				}
			case tt.kind == "":
				if !errors.Is(err, io.EOF) {
					t.Errorf("error %v", err)
				}
			case err != nil || m.Kind != tt.kind || string(m.Data) != tt.data:
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
	t.Run("endless", func(t *testing.T) {
		if _, err := decode(bufio.NewReader(zeros{})); !errors.Is(err, errTooLarge) {
			t.Errorf("error %v", err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestEncodeDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.StringN(1, -1, -1).Draw(t, "kind")
		data := rapid.SliceOf(rapid.String()).Draw(t, "data")
		line, err := encode(kind, data)
		if err != nil {
			t.Fatal(err)
		}
		m, err := decode(bufio.NewReader(strings.NewReader(string(line))))
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		if m.Kind != kind || string(m.Data) != string(want) {
			t.Fatalf("%q %s, want %q %s", m.Kind, m.Data, kind, want)
		}
	})
}
