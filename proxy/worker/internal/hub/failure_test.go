package hub

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
		want Failure
		told board.Reason // to the client of a session
	}{
		{unix.EMFILE, connectStarved, board.ReasonNoNode},
		{unix.EADDRNOTAVAIL, connectStarved, board.ReasonNoNode},
		{unix.ECONNREFUSED, connectRefused, board.ReasonSessionGone},
		{unix.ETIMEDOUT, ConnectUnanswered, board.ReasonNodeTimeout},
		{HandshakeError{io.EOF}, ConnectDistrusted, board.ReasonNoNode},
		{HandshakeError{unix.ECONNRESET}, ConnectDistrusted, board.ReasonNoNode},
		{unix.ECONNRESET, connectBroken, board.ReasonNodeTimeout},
		{unix.EHOSTUNREACH, connectBroken, board.ReasonNodeTimeout},
	} {
		got := ConnectFailure(os.NewSyscallError("connect", test.err))
		if got != test.want || got.OfSession() != test.told || got.Told() != board.ReasonNoNode {
			t.Errorf("%v: failure %d, %v, %v", test.err, got, got.OfSession(), got.Told())
		}
	}
	for f := connectStarved; f <= ConnDisplaced; f++ {
		if told := f.Told(); f > ConnectOvertaken && told != board.ReasonNodeLost && told != board.ReasonNodeDown {
			t.Errorf("failure %d is told as %v", f, told)
		}
	}
}
