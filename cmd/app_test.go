package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Every kind of error is printed in one way: what, then what to do.
func TestReport(t *testing.T) {
	interrupted, cancel := context.WithCancelCause(context.Background())
	cancel(&stopError{code: 130, reason: "stopped by interrupt"})
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		code int
		text string
	}{
		"nothing":          {nil, nil, 0, ""},
		"plain":            {nil, errors.New("no room"), 1, "erlmcp: no room\nhint: erlmcp health says what is wrong, and erlmcp config paths where the logs are\n"},
		"usage":            {nil, usagef("no %s", "name"), 2, "erlmcp: no name\nhint: erlmcp --help\n"},
		"hint":             {nil, hinted(usagef("no name"), "give one"), 2, "erlmcp: no name\nhint: give one\n"},
		"hint inside":      {nil, fmt.Errorf("start: %w", hinted(errors.New("port taken"), "free it")), 1, "erlmcp: start: port taken\nhint: free it\n"},
		"code":             {nil, withCode(4, errors.New("too slow")), 4, "erlmcp: too slow\nhint: erlmcp health says what is wrong, and erlmcp config paths where the logs are\n"},
		"joined":           {nil, withCode(2, errors.Join(errors.New("a: bad"), errors.New("b: bad"))), 2, "erlmcp: a: bad\nerlmcp: b: bad\nhint: erlmcp --help\n"},
		"silent":           {nil, exitWith(3), 3, ""},
		"joined, silent":   {nil, errors.Join(hinted(failf("lb has ended"), "start it"), exitWith(4)), 1, "erlmcp: lb has ended\nhint: start it\n"},
		"silent success":   {nil, exitWith(0), 0, ""},
		"interrupted":      {interrupted, fmt.Errorf("hold: %w", context.Canceled), 130, ""},
		"failed by itself": {interrupted, errors.New("no room"), 1, "erlmcp: no room\nhint: erlmcp health says what is wrong, and erlmcp config paths where the logs are\n"},
		"closed output":    {nil, fmt.Errorf("print: %w", &stopError{code: 0}), 0, ""},
	} {
		if c.ctx == nil {
			c.ctx = context.Background()
		}
		var out bytes.Buffer
		if code := report(c.ctx, &out, c.err); code != c.code || out.String() != c.text {
			t.Errorf("%s: code %d, %q; want %d, %q", name, code, out.String(), c.code, c.text)
		}
	}
}

// A reader that has had enough, like head, is no failure and gets no message.
func TestClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	cmd := exec.Command("erlmcp", "config", "show", "--defaults")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &stderr
	err = cmd.Run()
	_ = w.Close()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%v, %s", err, stderr.String())
	}
}

// stubborn is a program that never ends by itself, not even when it is asked to.
func stubborn() {
	ctx, _ := withSignals(context.Background(), os.Stderr)
	fmt.Println("working")
	<-ctx.Done()
	fmt.Println(context.Cause(ctx))
	select {}
}

// The first SIGINT stops a command gracefully, a SIGTERM after it changes nothing, the second SIGINT
// ends it at once.
func TestInterrupts(t *testing.T) {
	cmd := exec.Command("stubborn")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	says := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("says %q, want %q", lines.Text(), want)
		}
	}
	send := func(s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Error(err)
		}
	}
	says("working")
	send(syscall.SIGINT)
	says("stopped by interrupt")
	send(syscall.SIGTERM)
	send(syscall.SIGINT)
	_ = cmd.Wait() // tells the exit code as an error
	if cmd.ProcessState.ExitCode() != 130 || stderr.String() != "erlmcp: interrupted again, leaving at once\n" {
		t.Errorf("%v, says %q", cmd.ProcessState, stderr.String())
	}
}

// What looks like a command of the program is one: the help of each names it, and says what it does
// in one line.
func TestCommandsAreDescribed(t *testing.T) {
	var out bytes.Buffer
	if code := Main([]string{"help"}, strings.NewReader(""), &out, io.Discard); code != 0 {
		t.Fatal(code)
	}
	for _, group := range groups {
		for _, construct := range group.commands {
			c := construct(&app{})
			if c.Short == "" || strings.HasSuffix(c.Short, ".") || !strings.Contains(out.String(), c.Short) {
				t.Errorf("%s: %q", c.Name(), c.Short)
			}
		}
	}
}
