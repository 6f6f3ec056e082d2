package attack

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

func TestReplyOf(t *testing.T) {
	long := strings.Repeat("x", ask.MaxReply)
	for stream, want := range map[string]struct {
		reply string
		err   error
	}{
		"data: a\n\n":                                 {"a", nil},
		"data:a\r\ndata:  b\r\n\r\ndata: c\n\n":       {"a\n b", nil},
		"data:\ndata: a\n\n":                          {"\na", nil},
		": x\nevent: y\nid: 3\n\ndata\n\ndata: a\n\n": {"a", nil},
		"data:\n\ndata: a\n\n":                        {"a", nil},
		"data: {\"method\":\"m\"}\n\ndata: {}\n\n":    {"{}", nil},
		"data: a\n":                                   {"", errNoReply},
		"data: " + long + "\n\n":                      {long, nil},
		"data: " + long + "x\n\n":                     {"", errTooLong},
		"data: " + long + long + "\n\n":               {"", errTooLong},
		"":                                            {"", errNoReply},
	} {
		if got, err := replyOf(strings.NewReader(stream), func([]byte) {}); string(got) != want.reply || !errors.Is(err, want.err) {
			t.Errorf("%.40q: %.40q, %v", stream, got, err)
		}
	}
}

// Events that are written come back, and whatever else there is ends within bounds.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: a\n\n"))
	f.Add([]byte(": x\r\nevent: y\r\ndata: {\"a\":1}\r\ndata:b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(p), 16)
		for {
			data, err := nextEvent(r)
			if err != nil {
				break
			}
			if len(data) == 0 || len(data) > ask.MaxReply {
				t.Fatalf("%d bytes of data", len(data))
			}
			var again []byte
			for line := range bytes.SplitSeq(data, []byte{'\n'}) {
				again = append(append(append(again, "data: "...), line...), "\r\n"...)
			}
			back, err := nextEvent(bufio.NewReader(bytes.NewReader(append(again, "\r\n"...))))
			if err != nil || !bytes.Equal(back, data) {
				t.Fatalf("%q, %v, want %q", back, err, data)
			}
		}
	})
}
