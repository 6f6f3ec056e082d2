package advice

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

type coded struct{ error }

func (coded) ExitCode() int { return 7 }

func TestOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		hint string
		exit int
	}{
		{nil, "", 0},
		{io.EOF, "", 0},
		{With(io.EOF, "read less"), "read less", 0},
		{fmt.Errorf("outside: %w", With(coded{io.EOF}, "read less")), "read less", 7},
		{With(With(io.EOF, "inner"), "outer"), "outer", 0},
	} {
		if hint, exit := Of(c.err); hint != c.hint || exit != c.exit {
			t.Errorf("Of(%v) = %q, %d, want %q, %d", c.err, hint, exit, c.hint, c.exit)
		}
	}
	if err := With(io.EOF, "read less"); err.Error() != "EOF" || !errors.Is(err, io.EOF) {
		t.Errorf("%v is not what it was before the hint", err)
	}
}
