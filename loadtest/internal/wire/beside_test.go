package wire

import (
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

func TestBeside(t *testing.T) {
	for _, c := range []struct {
		driver      Driver
		over        target.Transport
		connections int
		want        int
	}{
		{Socket, target.HTTP, 100_000, 2048},
		{Socket, target.SSE, 800, 100},
		{Socket, target.WS, 100_000, 0},
		{Socket, target.TCP, 100_000, 0},
		{Vegeta, target.HTTP, 100_000, 0},
	} {
		if got := Beside(c.driver, c.over, c.connections); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
