package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	roles["descriptors"] = func() {
		OwnDescriptors()
		tellOpen("own")
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), roleEnv+"=descriptors of a child")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		_ = child.Run()
		_ = Ready()
	}
	roles["descriptors of a child"] = func() { tellOpen("child") }
}

// tellOpen says which of a test's files this process has open.
func tellOpen(who string) {
	for _, fd := range open() {
		if to, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); strings.Contains(to, "inherited") {
			fmt.Println(who, fd, to)
		}
	}
	fmt.Println(who, "told")
}

// inherited opens a file that whatever this process starts inherits, unless it takes care.
func inherited(t *testing.T) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(t.TempDir(), "inherited"), unix.O_CREAT|unix.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
}

func TestDaemonsInheritNothing(t *testing.T) {
	inherited(t)
	o := options(t, "descriptors")
	if _, err := Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(o.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(said) != "own told\nchild told\n" {
		t.Errorf("it has\n%s", said)
	}
}

// What was started in the foreground keeps what it was given, for itself.
func TestForegroundPassesNothingOn(t *testing.T) {
	inherited(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=descriptors")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(said), "inherited") != 1 || !strings.HasPrefix(string(said), "own ") || !strings.Contains(string(said), "child told") {
		t.Errorf("they have\n%s", said)
	}
}
