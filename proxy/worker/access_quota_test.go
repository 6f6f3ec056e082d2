package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// Refusals have a bounded number of lines, and each of them is in a line or in a count.
func TestRefusalsDoNotFillTheAccessLog(t *testing.T) {
	for _, sources := range []int{1, 22, 500} {
		t.Run(fmt.Sprint(sources), func(t *testing.T) {
			const refusals = 3000
			path := filepath.Join(t.TempDir(), "access.log")
			b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) { s.AccessLog.File = path })
			b.on(func() {
				for i := range refusals {
					e := b.access.begin(netip.AddrFrom4([4]byte{127, 30, byte(i % sources >> 8), byte(i % sources)}), b.loop.Now())
					e.refused([]board.Reason{board.ReasonBan, board.ReasonRate}[i%2])
					b.access.end(b.worker, e, frontends[i%3])
				}
				e := b.access.begin(netip.MustParseAddr("127.30.0.0"), b.loop.Now())
				e.node, e.in = "a", 1 // of what was served
				b.access.end(b.worker, e, frontendTCP)
				b.access.flush(b.loop.Now() + int64(2*time.Second))
			})
			lines, refused, served := 0, 0, 0
			b.eventually("all to be told", func() bool {
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
