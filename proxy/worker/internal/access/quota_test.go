package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// Refusals have a bounded number of lines, and each of them is in a line or in a count.
func TestRefusalsDoNotFillTheAccessLog(t *testing.T) {
	for _, sources := range []int{1, 22, 500} {
		t.Run(fmt.Sprint(sources), func(t *testing.T) {
			const refusals = 3000
			path := filepath.Join(t.TempDir(), "access.log")
			var a Log
			a.Follow(path, new(board.Worker), log.New(io.Discard))
			now := mono.Now()
			defer a.Close(now)
			for i := range refusals {
				e := a.Begin(netip.AddrFrom4([4]byte{127, 30, byte(i % sources >> 8), byte(i % sources)}), now)
				e.Refused([]board.Reason{board.ReasonBan, board.ReasonRate}[i%2])
				a.End(e, frontends[i%3], now)
			}
			e := a.Begin(netip.MustParseAddr("127.30.0.0"), now)
			e.Node, e.In = "a", 1 // of what was served
			a.End(e, FrontendTCP, now)
			a.Flush(now + int64(2*time.Second))
			lines, refused, served := 0, 0, 0
			waittest.Until(t, 10*time.Second, "all to be told", func() bool {
				text, _ := os.ReadFile(path)
				lines, refused, served = 0, 0, 0
				for line := range bytes.Lines(text) {
					var l proxytest.AccessLine
					if err := json.Unmarshal(line, &l); err != nil {
						return false
					}
					lines++
					switch {
					case l.Node != "":
						served++
					case l.Omitted > 0:
						refused += l.Omitted
					default:
						refused++
					}
				}
				return refused >= refusals
			})
			if most := min(refusalsPerSecond, sources*refusalsPerSource) + 6 + 1; refused != refusals || served != 1 || lines > most {
				t.Errorf("%d refusals and %d others in %d lines, want at most %d", refused, served, lines, most)
			}
		})
	}
}
