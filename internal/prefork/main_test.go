package prefork

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
)

// The test binary plays three parts: the tests; a copy (the argument says which), because pools
// execute their own binary; and a parent that tests can kill.
func TestMain(m *testing.M) {
	if role := os.Getenv("PREFORK_TEST_PARENT"); role != "" {
		os.Unsetenv("PREFORK_TEST_PARENT")
		parents[role]()
		return
	}
	if _, ok := os.LookupEnv(variable); ok {
		copies[os.Args[1]]()
		return
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

// A copy asks for its death signal on the thread that calls Inherit, the test that gives it up must
// do so on the same one.
func init() {
	if _, ok := os.LookupEnv(variable); ok {
		runtime.LockOSThread()
	}
}

var copies = map[string]func(){
	"worker":    worker,
	"crash":     func() { os.Exit(3) },
	"quit":      func() {},
	"deaf":      deaf,
	"stubborn":  stubborn,
	"babble":    babble,
	"last-word": lastWord,
	"orphan":    orphan,
	"shout":     func() { fmt.Println("shout") },
	"polite":    polite,
}

func inherit() *Child {
	c, err := Inherit()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return c
}

// facts is what a worker sees of itself.
type facts struct {
	Index, Copies int
	PID, Parent   int
	Args          []string
	Environment   []string
	OpenOnExec    []int // descriptors a program it starts would inherit
	File          string
	Taken         bool // the file could be had a second time
	Limit         uint64
}

// worker does what it is told. It ends like most programs at SIGTERM and when its parent has gone.
func worker() { obey(inherit()) }

func obey(c *Child) {
	for {
		m, err := c.Receive()
		if err != nil {
			os.Exit(0)
		}
		switch m.Kind {
		case "exit":
			var code int
			_ = json.Unmarshal(m.Data, &code)
			os.Exit(code)
		case "facts":
			err = c.Send("facts", gather(c))
		case "execute": // a nested use of Executable
			err = execute(c)
		default:
			err = c.Send(m.Kind, m.Data)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
}

func gather(c *Child) facts {
	f := facts{Index: c.Index, Copies: c.Copies, PID: os.Getpid(), Parent: os.Getppid(), Args: os.Args}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "ERLMCP_") {
			f.Environment = append(f.Environment, kv)
		}
	}
	f.OpenOnExec = openOnExec()
	if file := c.File("greeting"); file != nil {
		text := make([]byte, 64)
		n, _ := file.ReadAt(text, 0)
		f.File = string(text[:n])
		f.Taken = c.File("greeting") != nil
		file.Close()
	}
	f.Limit, _ = Limit()
	return f
}

func execute(c *Child) error {
	exe, err := Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "PREFORK_TEST_PARENT=hello")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return err
	}
	return c.Send("execute", string(out))
}

// deaf never reads its control stream.
func deaf() {
	c := inherit()
	_ = c.Send("ready", nil)
	select {}
}

// orphan has no death signal and ends when its control stream does.
func orphan() {
	c := inherit()
	surviveParent()
	_ = c.Send("ready", nil)
	for {
		if _, err := c.Receive(); errors.Is(err, io.EOF) {
			os.Exit(0)
		}
	}
}

// stubborn ends by SIGKILL only.
func stubborn() {
	signal.Ignore(syscall.SIGTERM)
	c := inherit()
	_ = c.Send("ready", nil)
	select {}
}

// polite takes SIGTERM as a request and says so.
func polite() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	c := inherit()
	_ = c.Send("ready", nil)
	<-term
	_ = c.Send("drained", nil)
}

// babble does not speak the protocol.
func babble() {
	c := inherit()
	_, _ = c.stream.conn.Write([]byte("hello\n"))
	select {}
}

// lastWord says very much and ends at once.
func lastWord() {
	c := inherit()
	for i := range 100 {
		_ = c.Send("word", i)
	}
}

var parents = map[string]func(){
	"hello":  func() { fmt.Println("hello") },
	"worker": func() { parent("worker") },
	"deaf":   func() { parent("deaf") },
	"orphan": func() { parent("orphan") },
	"crash":  func() { parent("crash") },
}

const parentCopies = 3

// parent keeps a pool until it is killed. Its copies, too, hold the write end of the pipe that is
// its descriptor 3: the other end reads a line for every message of a copy, and EOF when parent and
// copies are all gone.
func parent(role string) {
	alive := os.NewFile(3, "alive")
	syscall.CloseOnExec(3)
	_, err := Start(context.Background(), Config{
		Name: "test", Args: []string{role}, Copies: parentCopies,
		Files:     []File{{"alive", alive}},
		Hello:     func(i int) (string, any) { return "execute", nil },
		OnMessage: func(i int, m Message) { fmt.Fprintln(alive, m.Kind, i) },
		OnStart:   func(i, pid int) { fmt.Fprintln(alive, "pid", pid) },
		Backoff:   Backoff{Min: time.Millisecond},
	})
	if err != nil {
		fmt.Fprintln(alive, err)
	}
	select {}
}
