package burst

import (
	"strings"
	"testing"
	"time"
)

func TestPatienceEnds(t *testing.T) {
	c := command{name: "wrk", path: "/bin/sh", args: []string{"-c", "echo begun; exec sleep 1000"}, patience: 100 * time.Millisecond, most: 1 << 10}
	_, err := c.run(t.Context())
	if err == nil || err.Error() != "wrk failed: it did not end within 100ms" {
		t.Errorf("error %v", err)
	}
}

// What a program gets and prints passes as it is, and what it has used is known.
func TestExecute(t *testing.T) {
	text := strings.Repeat("text\n", 100)
	c := command{name: "cat", path: "/bin/cat", stdin: []byte(text), patience: time.Minute, most: len(text)}
	o, err := c.run(t.Context())
	if err != nil || string(o.stdout) != text || o.stderr != "" || o.use.RSSBytes < 1<<16 {
		t.Errorf("%q, %+v, %v", o.stdout, o.use, err)
	}
	c.most--
	if _, err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "without end") {
		t.Errorf("error %v", err)
	}
}
