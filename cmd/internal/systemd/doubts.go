package systemd

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/config"
)

// servicePath is where systemd has services look for programs.
const servicePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// onServicePath reports whether a service finds a program without this shell's PATH.
func onServicePath(program string) bool {
	if strings.ContainsRune(program, '/') {
		return true
	}
	return slices.ContainsFunc(filepath.SplitList(servicePath), func(dir string) bool {
		info, err := os.Stat(filepath.Join(dir, program))
		return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	})
}

// Bits of a file's mode, as for one class of users.
const (
	toRead    fs.FileMode = 4
	toWrite   fs.FileMode = 2
	toExecute fs.FileMode = 1
)

// account is a user that a service runs as.
type account struct {
	name   string
	uid    int
	groups []int
}

func lookupAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	found := &account{name: name}
	if found.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		ids = []string{u.Gid}
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			found.groups = append(found.groups, n)
		}
	}
	return found, nil
}

// may reports whether the mode of a file allows a something, without regard to access control lists.
func (a *account) may(info fs.FileInfo, want fs.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	shift := 0
	switch {
	case a.uid == int(stat.Uid):
		shift = 6
	case slices.Contains(a.groups, int(stat.Gid)):
		shift = 3
	}
	return info.Mode().Perm()>>shift&want == want
}

// obstacle says what keeps a from a file that is there, "" when nothing does, as far as this process can see.
func (a *account) obstacle(path string, want fs.FileMode) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for _, tmp := range []string{"/tmp", "/var/tmp"} {
		if within(tmp, path) {
			return "services have a " + tmp + " of their own"
		}
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !a.may(info, toExecute) {
			return fmt.Sprintf("%s may not enter %s", a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	info, err := os.Stat(path)
	if err != nil || a.may(info, want) {
		return ""
	}
	what := map[fs.FileMode]string{toRead: "read", toExecute: "execute", toRead | toExecute: "read", toWrite | toExecute: "write to"}[want]
	return fmt.Sprintf("%s may not %s it", a.name, what)
}

// within reports whether a path is dir or below it.
func within(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// Doubt is something that a service will not be able to do, and what to do about it.
type Doubt struct{ Text, Advice string }

// doubt decides how the service gets the directories it writes to, and notes what it will not be able to do.
func (u *Unit) doubt(c *config.Config, role string) {
	if u.Own {
		u.Writable = nil // it may what the user may
		return
	}
	who, err := lookupAccount(u.User)
	if err != nil {
		u.doubtf("useradd --system --home-dir /var/lib/erlmcp --shell /usr/sbin/nologin "+u.User,
			"there is no user %s on this machine", u.User)
		who = &account{name: u.User, uid: -1}
	}
	u.doubtAccess(who, u.Program, toExecute, "put the program where everybody may execute it, such as /usr/local/bin")
	const together = "erlmcp config show prints one file with all that is in force, for a place such as /etc/erlmcp"
	for _, source := range u.Sources {
		if filepath.IsAbs(source) {
			u.doubtAccess(who, source, toRead, together)
		}
	}
	written := u.Writable
	u.Writable = nil
	for _, dir := range written {
		u.writes(who, filepath.Clean(dir))
	}
	for _, p := range c.Paths() {
		info, err := os.Stat(p.Name)
		said := c.Origin(p.Key) != (config.Origin{})
		if !said || !strings.HasPrefix(p.Key, role+".") || err != nil || slices.Contains(written, p.Name) || p.Key == "lb.access_log.file" {
			continue
		}
		want := toRead
		if info.IsDir() {
			want |= toExecute
		}
		if obstacle := who.obstacle(p.Name, want); obstacle != "" {
			u.doubtf("give it to "+u.User+" or to a group of its own", "%s: %s: %s", p.Key, p.Name, obstacle)
		}
	}
}

func (u *Unit) doubtAccess(who *account, path string, want fs.FileMode, advice string) {
	if obstacle := who.obstacle(path, want); obstacle != "" {
		u.doubtf(advice, "the service cannot use %s: %s", path, obstacle)
	}
}

func (u *Unit) doubtf(advice, format string, args ...any) {
	u.Doubts = append(u.Doubts, Doubt{fmt.Sprintf(format, args...), advice})
}

// writes has the service write to a directory. systemd makes one in /var/log, and gives it to the user of the service;
// so it does with what is there, which therefore must not be somebody else's.
func (u *Unit) writes(who *account, dir string) {
	info, err := os.Stat(dir)
	mine := err == nil && info.Sys().(*syscall.Stat_t).Uid == uint32(who.uid)
	below, isLog := strings.CutPrefix(dir, "/var/log/")
	switch {
	case within("/var/lib/"+u.StateDir, dir): // as the state directory
	case isLog && (err != nil || mine) && !strings.ContainsAny(below, ":\\"):
		u.Logs = append(u.Logs, below)
	case err != nil:
		u.Writable = append(u.Writable, dir)
		u.doubtf(fmt.Sprintf("install -d -o %s -m 0750 %s", u.User, dir), "there is no directory %s, and the service may not make it", dir)
	default:
		u.Writable = append(u.Writable, dir)
		u.doubtAccess(who, dir, toWrite|toExecute, fmt.Sprintf("chown %s %s, or choose a directory in /var/log", u.User, dir))
	}
}
