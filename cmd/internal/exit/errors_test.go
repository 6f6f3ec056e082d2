package exit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
)

// Every kind of error is printed in one way: what, then what to do.
func TestReport(t *testing.T) {
	interrupted, cancel := context.WithCancelCause(context.Background())
	cancel(&Stopped{Code: 130, Reason: "stopped by interrupt"})
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		code int
		text string
	}{
		"nothing":          {nil, nil, 0, ""},
		"plain":            {nil, errors.New("no room"), 1, "erlmcp: no room\nhint: erlmcp health says what is wrong, and erlmcp config paths where the logs are\n"},
		"usage":            {nil, Usagef("no %s", "name"), 2, "erlmcp: no name\nhint: erlmcp --help\n"},
		"hint":             {nil, Hinted(Usagef("no name"), "give one"), 2, "erlmcp: no name\nhint: give one\n"},
		"hint inside":      {nil, fmt.Errorf("start: %w", Hinted(errors.New("port taken"), "free it")), 1, "erlmcp: start: port taken\nhint: free it\n"},
		"code":             {nil, WithCode(4, errors.New("too slow")), 4, "erlmcp: too slow\nhint: erlmcp health says what is wrong, and erlmcp config paths where the logs are\n"},
		"joined":           {nil, WithCode(2, errors.Join(errors.New("a: bad"), errors.New("b: bad"))), 2, "erlmcp: a: bad\nerlmcp: b: bad\nhint: erlmcp --help\n"},
		"silent":           {nil, With(3), 3, ""},
		"joined, silent":   {nil, errors.Join(Hinted(Failf("lb has ended"), "start it"), With(4)), 1, "erlmcp: lb has ended\nhint: start it\n"},
		"silent success":   {nil, With(0), 0, ""},
		"interrupted":      {interrupted, fmt.Errorf("hold: %w", context.Canceled), 130, ""},
		"failed by itself": {interrupted, errors.New("no room"), 1, "erlmcp: no room\nhint: erlmcp health says what is wrong, and erlmcp config paths where the logs are\n"},
		"closed output":    {nil, fmt.Errorf("print: %w", &Stopped{Code: 0}), 0, ""},
	} {
		if c.ctx == nil {
			c.ctx = context.Background()
		}
		var out bytes.Buffer
		if code := Report(c.ctx, &out, c.err); code != c.code || out.String() != c.text {
			t.Errorf("%s: code %d, %q; want %d, %q", name, code, out.String(), c.code, c.text)
		}
	}
}
