package freeport

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/guardtest"
)

// asChild has the test binary print ports and wait for the end of its input.
const asChild = "ERLMCP_TEST_FREEPORT_CHILD"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(asChild)); err == nil {
		ports, err := Find(n)
		fmt.Println(ports, err)
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	guardtest.Guard()
	os.Exit(m.Run())
}

// Two processes and two calls get different ports, each free.
func TestPortsAreDistinct(t *testing.T) {
	const each = 200
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", asChild, each))
	hold, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hold.Close(); _ = child.Wait() }()
	line := make([]byte, 64<<10)
	n, err := said.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	list, ended := strings.CutSuffix(strings.TrimSpace(string(line[:n])), "] <nil>")
	seen := map[string]bool{}
	for port := range strings.FieldsSeq(strings.TrimPrefix(list, "[")) {
		seen[port] = true
	}
	if !ended || len(seen) != each {
		t.Fatalf("the child said %q", line[:n])
	}
	for range 2 {
		ports, err := Find(each)
		if err != nil || len(ports) != each {
			t.Fatalf("found %v: %v", ports, err)
		}
		for _, port := range ports {
			if text := strconv.Itoa(port); seen[text] {
				t.Errorf("%s was given twice", text)
			} else {
				seen[text] = true
			}
			l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Error(err)
				continue
			}
			l.Close()
		}
	}
}

// A port in use is not given, nor is one that the kernel may choose.
func TestPortsAreFree(t *testing.T) {
	first, err := Find(1)
	if err != nil {
		t.Fatal(err)
	}
	if claim(first[0]) {
		t.Errorf("%d was claimed twice", first[0])
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if claim(port) {
		t.Errorf("%d, which is listened on, was claimed", port)
	}
	if port >= kernelsFirst() && first[0] >= kernelsFirst() {
		t.Errorf("%d can be chosen by the kernel, whose first is %d", first[0], kernelsFirst())
	}
}
