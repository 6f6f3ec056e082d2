package worker

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// What the table says of failures is what they are made of.
func TestFailures(t *testing.T) {
	for _, test := range []struct {
		err  error
		want failure
		told board.Reason // to the client of a session
	}{
		{unix.EMFILE, connectStarved, board.ReasonNoNode},
		{unix.EADDRNOTAVAIL, connectStarved, board.ReasonNoNode},
		{unix.ECONNREFUSED, connectRefused, board.ReasonSessionGone},
		{unix.ETIMEDOUT, connectUnanswered, board.ReasonNodeTimeout},
		{handshakeError{io.EOF}, connectDistrusted, board.ReasonNoNode},
		{handshakeError{unix.ECONNRESET}, connectDistrusted, board.ReasonNoNode},
		{unix.ECONNRESET, connectBroken, board.ReasonNodeTimeout},
		{unix.EHOSTUNREACH, connectBroken, board.ReasonNodeTimeout},
	} {
		got := connectFailure(os.NewSyscallError("connect", test.err))
		if got != test.want || got.ofSession() != test.told || got.told() != board.ReasonNoNode {
			t.Errorf("%v: failure %d, %v, %v", test.err, got, got.ofSession(), got.told())
		}
	}
	for f := connectStarved; f <= connDisplaced; f++ {
		if told := f.told(); f > connectOvertaken && told != board.ReasonNodeLost && told != board.ReasonNodeDown {
			t.Errorf("failure %d is told as %v", f, told)
		}
	}
}
