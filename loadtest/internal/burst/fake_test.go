package burst_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/internal/burst"
)

// program puts a shell script into a directory of programs.
func program(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

const (
	wrkVersion = `printf 'wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\nUsage: wrk <options> <url>\n'`
	abVersion  = `echo 'This is ApacheBench, Version 2.3 <$Revision: 1923142 $>'`
)

// fake is a driver whose program tells its version, and does something else when it is to work.
func fake(t *testing.T, name, work string) burst.Driver {
	t.Helper()
	bin := t.TempDir()
	version := map[string]string{"wrk": wrkVersion, "ab": abVersion}[name]
	program(t, bin, name, `case "$1" in -V|--version) `+version+"; exit 1;; esac\n"+work)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return driver(t, name)
}

func TestProgramsThatMisbehave(t *testing.T) {
	s := serve(t, false, 0)
	for _, c := range []struct{ name, driver, work, want string }{
		{"garbage", "wrk", `echo hello; echo no such thing >&2`, "wrk failed: it has printed no result: no such thing"},
		{"garbage", "ab", `echo hello`, `"Time taken for tests" is missing`},
		{"fails", "wrk", `printf 'unable to connect\033[31m' >&2; exit 1`, "wrk failed: exit status 1: unable to connect [31m"},
		{"fails", "ab", `echo 'apr_socket_connect(): Connection refused (111)' >&2; exit 111`, "ab failed: exit status 111: apr_socket_connect(): Connection refused (111)"},
		{"killed", "wrk", `kill -9 $$`, "wrk failed: signal: killed"},
		{"floods", "wrk", `exec cat /dev/zero`, "wrk failed: it prints without end"},
		{"floods", "ab", `exec cat /dev/zero`, "ab failed: it prints without end"},
		{"floods errors", "wrk", `head -c 10000000 /dev/zero >&2; exit 3`, "wrk failed: exit status 3"},
		{"truncated", "wrk", `echo '{"burst":1,"took_us":1000'`, "its result cannot be read"},
		{"truncated", "ab", `echo 'Time taken for tests:   1.000 seconds'`, `"Complete requests" is missing`},
		{"no table", "ab", `printf 'Time taken for tests: 1.0 seconds\nComplete requests: 5\nKeep-Alive requests: 5\nTotal transferred: 5 bytes\nTime per request: 1 [ms] (mean)\n'`, "no table of percentiles"},
	} {
		t.Run(c.driver+" "+c.name, func(t *testing.T) {
			d := fake(t, c.driver, c.work)
			_, err := d.Run(t.Context(), s.job(2, time.Second))
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

// A program that hangs is ended, with what holds its output.
func TestProgramThatHangs(t *testing.T) {
	s := serve(t, false, 0)
	mark := filepath.Join(t.TempDir(), "runs")
	d := fake(t, "wrk", "echo > "+mark+"\nsleep 1000 & exec sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := d.Run(ctx, s.job(2, time.Second))
		ended <- err
	}()
	waittest.Until(t, time.Minute, "the program runs", func() bool {
		_, err := os.Stat(mark)
		return err == nil
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A program has the descriptors that this one may have.
func TestDescriptorsOfPrograms(t *testing.T) {
	limit, err := prefork.Ceiling()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, false, 0)
	_, err = fake(t, "wrk", "ulimit -n >&2; exit 3").Run(t.Context(), s.job(2, time.Second))
	if want := fmt.Sprintf("wrk failed: exit status 3: %d", limit); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestMissingProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, d := range burst.Drivers() {
		_, err := d.Find(t.Context())
		var missing *burst.MissingError
		if d.Name() == "hey" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.As(err, &missing) || err.Error() != d.Name()+" is not in PATH" || !strings.HasPrefix(missing.Hint(), "sudo apt-get install ") ||
			!strings.Contains(missing.Hint(), "Alpine: apk add ") {
			t.Errorf("%v, %q", err, missing.Hint())
		}
	}
}
