//go:build unix

package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Rotated while requests come, by a reload or a signal, the log has each request once, in whole lines.
func TestAccessLogIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	b := serve(t, startNodes(t, 1), withSites(t, func(s *Spec) {
		unlimited(s)
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
			b.eventually("the reload", func(s *Stats) bool { return s.Reload.OK && s.Reload.At.After(before) })
		}
		asking.Wait()
		b.eventually("a new file", func(*Stats) bool { info, err := os.Stat(path); return err == nil && info.Size() > 0 })
	}
	seen := map[string]int{}
	b.eventually("all lines", func(s *Stats) bool {
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
func readLines(t *testing.T, name string) (lines []accessLine) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var l accessLine
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

// A log that nobody takes costs lines, all of which are counted, and no request; when it is taken again,
// it goes on with whole lines.
func TestAccessLogThatBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	b := startWorker(t, []string{startSite(t, hello)}, func(s *Spec) { unlimited(s); s.AccessLog.File = path })
	dropped := func() int { return int(b.cell.AccessLogDropped.Load()) }
	web, asked := b.browser(), 0
	askUntilDropped := func() {
		for before := dropped(); dropped() == before; asked++ {
			resp, err := web.Get("http://" + b.web + "/" + strings.Repeat("x", accessPath))
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	askUntilDropped() // the writer waits for somebody to open the other end
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	askUntilDropped() // now for somebody to read
	var taken bytes.Buffer
	if err := reader.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for bytes.Count(taken.Bytes(), []byte("\n"))+dropped() < asked {
		n, err := reader.Read(buf)
		if err != nil {
			t.Fatalf("%d lines and %d dropped of %d: %v", bytes.Count(taken.Bytes(), []byte("\n")), dropped(), asked, err)
		}
		taken.Write(buf[:n])
	}
	for line := range bytes.Lines(taken.Bytes()) {
		var l accessLine
		if err := json.Unmarshal(line, &l); err != nil || len(l.Path) != accessPath {
			t.Fatalf("%q: %v", line, err)
		}
	}
}
