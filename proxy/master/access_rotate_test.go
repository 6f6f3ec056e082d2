//go:build unix

package master

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// Rotated while requests come, by a reload or a signal, the log has each request once, in whole lines.
func TestAccessLogIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, func(s *proxy.Spec) {
		proxytest.WithoutLimits(s)
		s.Workers, s.AccessLog.File = 2, path
	}))
	const rounds, clients, each = 5, 4, 20 // less than what two buffers hold: nothing may be dropped
	web := "http://" + b.address("http")
	files := []string{path}
	for round := range rounds {
		var asking sync.WaitGroup
		for client := range clients {
			asking.Go(func() {
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				for i := range each {
					resp, err := (&http.Client{Transport: transport}).Get(fmt.Sprintf("%s/%d/%d/%d", web, round, client, i))
					if err != nil {
						t.Error(err)
						return
					}
					resp.Body.Close()
				}
			})
		}
		old := fmt.Sprint(path, ".", round)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		files = append(files, old)
		if round%2 == 0 {
			if _, err := b.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			before := time.Now()
			b.signals <- syscall.SIGHUP
			b.eventually("the reload", func(s *proxy.Stats) bool { return s.Reload.OK && s.Reload.At.After(before) })
		}
		asking.Wait()
		b.eventually("a new file", func(*proxy.Stats) bool { info, err := os.Stat(path); return err == nil && info.Size() > 0 })
	}
	seen := map[string]int{}
	b.eventually("all lines", func(s *proxy.Stats) bool {
		clear(seen)
		for _, name := range files {
			for _, l := range readLines(t, name) {
				seen[l.Path]++
			}
		}
		return len(seen) == rounds*clients*each && s.HTTP.Requests == uint64(len(seen))
	})
	for asked, n := range seen {
		if n != 1 {
			t.Errorf("%s has %d lines", asked, n)
		}
	}
	if n := b.stats().AccessLogDropped; n != 0 {
		t.Errorf("%d lines were dropped", n)
	}
}

// readLines reads a log, the last line of which may be on its way.
func readLines(t *testing.T, name string) (lines []proxytest.AccessLine) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var l proxytest.AccessLine
		if err := json.Unmarshal(line, &l); err != nil {
			if bytes.HasSuffix(line, []byte("\n")) {
				t.Fatalf("%s: %s: %v", name, line, err)
			}
			continue
		}
		lines = append(lines, l)
	}
	return lines
}
