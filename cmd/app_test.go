package cmd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
)

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
	ctx, _ := exit.WithSignals(context.Background(), os.Stderr)
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
