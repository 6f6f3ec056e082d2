package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/pidfd"
)

// Users of tests that need two. Nobody else has them.
const (
	victim   = 54321
	stranger = 54322
)

func init() {
	roles["look"], roles["plant"], roles["hold"], roles["dial"] = lookAround, plant, hold, dial
}

// as runs a role as a user, and returns what it says first. It ends with the test.
func as(t *testing.T, uid uint32, name, dir string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), role+"="+name, holderDir+"="+dir, "HOME=/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said := make([]byte, 64<<10)
	n, err := io.ReadAtLeast(out, said, 1)
	if err != nil {
		t.Fatalf("%s as %d: %v", name, uid, err)
	}
	return string(said[:n])
}

func twoUsers(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to be two other users")
	}
}

// sight is what a user is told of a directory.
type sight struct {
	Running, Asked, Prepared, Signalled string
}

func lookAround(dir string) {
	text := func(err error) string {
		if err == nil {
			return "ok"
		}
		return err.Error()
	}
	var s sight
	pid, ok, err := Running(dir, "test")
	s.Running = text(err)
	if err == nil {
		s.Running = fmt.Sprint(ok)
	}
	ctx, cancel := contextFor(5 * time.Second)
	defer cancel()
	s.Asked = text(NewClient(dir, "test").Do(ctx, "GET", "/", nil, nil))
	s.Prepared = text(PrepareDir(dir))
	if pid == 0 {
		pid = baitOf(dir)
	}
	s.Signalled = text(Signal(dir, "test", pid, syscall.SIGTERM))
	_ = json.NewEncoder(os.Stdout).Encode(s)
}

// seenBy is what a user is told of a directory.
func seenBy(t *testing.T, uid uint32, dir string) (s sight) {
	t.Helper()
	if err := json.Unmarshal([]byte(as(t, uid, "look", dir)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// baitOf is the process that somebody would like to have killed by way of a directory, as a file beside that says;
// else any.
func baitOf(dir string) (pid int) {
	text, err := os.ReadFile(dir + ".pid")
	if err != nil {
		return os.Getppid()
	}
	_, _ = fmt.Sscan(string(text), &pid)
	return pid
}

// plant takes a lock that anybody may write in the directory, for the process that baitOf names,
// and serves a socket, until it is killed.
func plant(dir string) {
	syscall.Umask(0)
	_ = os.Mkdir(dir, 0o755)
	lock, err := os.OpenFile(filepath.Join(dir, "test.lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err == nil {
		err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	pid := baitOf(dir)
	writeHolder(lock, holder{pid: pid, began: pidfd.Began(pid), phase: serving})
	plantSocket(dir)
}

// plantSocket serves a socket that anybody may connect to, until it is killed.
func plantSocket(dir string) {
	syscall.Umask(0)
	l, err := net.Listen("unix", filepath.Join(dir, "test.sock"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("planted")
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { Reply(w, 200, "\x1b]0;owned\a") }))
}

// dial asks the daemon of a directory without looking first.
func dial(dir string) {
	conn, err := net.Dial("unix", filepath.Join(dir, "test.sock"))
	if err == nil {
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		var answer []byte
		if answer, _ = io.ReadAll(conn); len(answer) > 0 {
			err = fmt.Errorf("answered %q", answer)
		}
	}
	fmt.Println(err)
}

// common is a directory like /tmp.
func common(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir := stateDir(t)
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

func chown(t *testing.T, path string, uid int, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.Lchown(path, uid, uid), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// sleeperOf is a process of a user that another would like to be killed.
func sleeperOf(t *testing.T, uid uint32) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func lives(cmd *exec.Cmd) bool {
	pid, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WNOHANG, nil)
	return pid == 0 && err == nil
}

// requireAll requires that whatever is asked has one answer that says so.
func requireAll(t *testing.T, s sight, words ...string) {
	t.Helper()
	for what, got := range map[string]string{"running": s.Running, "asked": s.Asked, "signalled": s.Signalled} {
		for _, word := range words {
			if !strings.Contains(got, word) {
				t.Errorf("%s: %q has no %q", what, got, word)
			}
		}
	}
}

func TestWhatStrangersMadeIsNotBelieved(t *testing.T) {
	twoUsers(t)
	tmp := common(t, 0o777|os.ModeSticky)
	sleeper := sleeperOf(t, victim)

	dir := filepath.Join(tmp, "theirs")
	if err := os.WriteFile(dir+".pid", fmt.Append(nil, sleeper.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	as(t, stranger, "plant", dir)
	s := seenBy(t, victim, dir)
	requireAll(t, s, "state directory "+dir+" belongs to user 54322, mode 0755, not to user 54321")
	if !strings.Contains(s.Prepared, "belongs to user 54322") {
		t.Errorf("prepared: %s", s.Prepared)
	}

	inside := filepath.Join(tmp, "inside") // the victim's own, into which others could write once
	if err := os.Mkdir(inside, 0o777); err != nil {
		t.Fatal(err)
	}
	chown(t, inside, victim, 0o777)
	if err := os.WriteFile(inside+".pid", fmt.Append(nil, sleeper.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	as(t, stranger, "plant", inside)
	requireAll(t, seenBy(t, victim, inside), "can be written by every user", "mode 0777")
	chown(t, inside, victim, 0o700)
	requireAll(t, seenBy(t, victim, inside), "belongs to user 54322, mode 0", "not to user 54321")
	chown(t, filepath.Join(inside, "test.lock"), victim, 0o666)
	s = seenBy(t, victim, inside)
	if !strings.Contains(s.Running, "test.lock can be written by others (it belongs to user 54321, mode 0666)") {
		t.Errorf("running: %s", s.Running)
	}
	if !lives(sleeper) {
		t.Error("a stranger had a process of the victim killed")
	}
	chown(t, filepath.Join(inside, "test.lock"), victim, 0o600)
	chown(t, filepath.Join(inside, "test.sock"), victim, 0o600)
	s = seenBy(t, victim, inside)
	if !strings.Contains(s.Asked, "a process of user 54322, not of user 54321, is at the other end") {
		t.Errorf("asked: %s", s.Asked)
	}

	link := filepath.Join(tmp, "link")
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(link, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	requireAll(t, seenBy(t, victim, link), "is not believed: "+link+", a link, belongs to user 54322")
	if s := seenBy(t, victim, link); !strings.Contains(s.Prepared, "a link") {
		t.Errorf("prepared: %s", s.Prepared)
	}
	if s := seenBy(t, victim, filepath.Join(link, "new")); !strings.Contains(s.Prepared, "a link") {
		t.Errorf("prepared below: %s", s.Prepared)
	}

	loose := filepath.Join(common(t, 0o777), "own")
	if err := os.Mkdir(loose, 0o700); err != nil {
		t.Fatal(err)
	}
	chown(t, loose, victim, 0o700)
	requireAll(t, seenBy(t, victim, loose), "is not believed", "can be written by every user")
}

func TestLocksThatAreLinksOrPipes(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink("/etc/passwd", path) },
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := stateDir(t)
		if err := plant(filepath.Join(dir, "test.lock")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Running(dir, "test"); !isDirError(err) {
			t.Errorf("%s: running: %v", name, err)
		}
		if _, err := Acquire(dir, "test"); !isDirError(err) {
			t.Errorf("%s: acquire: %v", name, err)
		}
	}
}

func isDirError(err error) bool { return errors.As(err, new(*DirError)) }

func TestNoPermissionIsNotTakenForNotRunning(t *testing.T) {
	twoUsers(t)
	dir := filepath.Join(common(t, 0o755), "state")
	i, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Serve(http.NotFoundHandler(), silent); err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	requireAll(t, seenBy(t, victim, dir), "permission denied to user 54321", "belongs to user 0 (root), mode 0700")
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	requireAll(t, seenBy(t, victim, dir), "permission denied to user 54321")
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	requireAll(t, seenBy(t, victim, dir), "permission denied to user 54321")
}

// Root may command the daemons of a service's user, and signals nobody else on the word of that user.
func TestRootAndADaemonOfAnother(t *testing.T) {
	twoUsers(t)
	dir := filepath.Join(common(t, 0o777|os.ModeSticky), "service")
	if said := as(t, victim, "hold", dir); said != "held\n" {
		t.Fatalf("the daemon says %q", said)
	}
	pid, ok := runs(t, dir)
	if !ok || pid == 0 {
		t.Fatalf("running is %d, %v", pid, ok)
	}
	if err := NewClient(dir, "test").Do(t.Context(), "GET", "/", nil, nil); !strings.Contains(fmt.Sprint(err), "404") {
		t.Errorf("asked: %v", err)
	}
	if err := PrepareDir(dir); !isDirError(err) || !strings.Contains(err.Error(), "belongs to user 54321") {
		t.Errorf("root would run a daemon in another's directory: %v", err)
	}
	others, own := sleeperOf(t, stranger), sleeperOf(t, victim)
	lock, err := os.OpenFile(filepath.Join(dir, "test.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for _, cmd := range []*exec.Cmd{others, own} {
		pid := cmd.Process.Pid
		writeHolder(lock, holder{pid: pid, began: pidfd.Began(pid), phase: serving})
		err := Signal(dir, "test", pid, syscall.SIGKILL)
		if cmd == own && err != nil {
			t.Errorf("a process of the owner: %v", err)
		}
		if cmd == others && !errors.As(err, new(*StrangerError)) {
			t.Errorf("a process of somebody else: %v", err)
		}
	}
	if !lives(others) {
		t.Error("the owner of a directory had root kill the process of somebody else")
	}
	writeHolder(lock, holder{pid: pid, began: pidfd.Began(pid), phase: serving})
	if err := Signal(dir, "test", pid, syscall.SIGTERM); err != nil {
		t.Errorf("the daemon itself: %v", err)
	}
}

// A daemon answers its user and root, whoever can open its socket.
func TestDaemonsAskWhoAsks(t *testing.T) {
	twoUsers(t)
	dir := filepath.Join(common(t, 0o777|os.ModeSticky), "service")
	if said := as(t, victim, "hold", dir); said != "held\n" {
		t.Fatalf("the daemon says %q", said)
	}
	chown(t, dir, victim, 0o755)
	chown(t, filepath.Join(dir, "test.sock"), victim, 0o666)
	for uid, want := range map[uint32]string{stranger: "<nil>\n", victim: "answered \"HTTP/1.0 404", 0: "answered \"HTTP/1.0 404"} {
		if said := as(t, uid, "dial", dir); !strings.HasPrefix(said, want) {
			t.Errorf("user %d: %q", uid, said)
		}
	}
}

// Where a link of one's own leads, all names are one directory.
func TestLinksOfOnesOwn(t *testing.T) {
	base := stateDir(t)
	dir, link := filepath.Join(base, "dir"), filepath.Join(base, "link")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink("../"+filepath.Base(base)+"/./dir", link)); err != nil {
		t.Fatal(err)
	}
	i, _ := serve(t, link, http.NotFoundHandler())
	if want, _ := filepath.EvalSymlinks(dir); i.Dir() != want {
		t.Errorf("is %s, want %s", i.Dir(), want)
	}
	if _, err := Acquire(dir, "test"); !errors.Is(err, ErrRunning) {
		t.Errorf("two of a kind: %v", err)
	}
	for _, name := range []string{dir, link, link + "/../dir/"} {
		if _, ok := runs(t, name); !ok {
			t.Errorf("%s: not running", name)
		}
		if err := NewClient(name, "test").Do(t.Context(), "GET", "/", nil, nil); errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
	loop := filepath.Join(base, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Running(loop, "test"); !isDirError(err) {
		t.Errorf("a loop: %v", err)
	}
	// The name of the socket may be short enough by the link only.
	long := filepath.Join(base, strings.Repeat("x", maxSocketPath))
	short := filepath.Join(base, "s")
	if err := errors.Join(os.Mkdir(long, 0o700), os.Symlink(long, short)); err != nil {
		t.Fatal(err)
	}
	serve(t, short, http.NotFoundHandler())
}

func TestUnmappedUsers(t *testing.T) {
	for table, want := range map[string]bool{
		"         0          0 4294967295\n": true,
		"         0       1000          1\n": false,
		"0 1000 1\n1 100000 65536\n":         true,
		"0 1000 1\n1 100000 65533\n":         false,
		"what\n":                             true,
		"0 0 1\n":                            false,
		"65534 0 1\n":                        true,
		"0 0 65535\n":                        true,
		"0 0 65534\n":                        false,
		"1000 0 1\n65000 1 500\n":            false,
		"1000 0 1\n65000 1 600\n":            true,
		"99999999999999999999 0 1\n":         true,
		"0 0 1\n5 6\n":                       true,
		"0 0 1\n5 6 7\n8 9 10\n":             false,
		"4294967295 0 1\n":                   false,
		"65533 0 1\n65535 0 1\n":             false,
		"65533 0 1\n65535 0 1\n65534 0 1\n":  true,
		"65533 0 2\n":                        true,
		"":                                   false,
	} {
		if got := mapped(table, 65534); got != want {
			t.Errorf("%q: %v", table, got)
		}
	}
}
