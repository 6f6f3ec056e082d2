package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxSocketPath is the room for a path in struct sockaddr_un without its final zero byte: 108 on
// Linux, 104 on BSD and macOS.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// DirError says why a state directory, or what is in it, is not used or not believed.
type DirError struct {
	Dir    string
	Reason string
	Advice string // "" is to choose another directory
}

func (e *DirError) Error() string { return fmt.Sprintf("state directory %s %s", e.Dir, e.Reason) }

// Hint is the way out.
func (e *DirError) Hint() string {
	if e.Advice != "" {
		return e.Advice
	}
	return chooseAnother
}

const chooseAnother = "choose another one with --state-dir or ERLMCP_STATE_DIR"

// ExitCode marks a directory that was chosen badly as wrong usage.
func (e *DirError) ExitCode() int { return 2 }

// place is a state directory as the file system has it. Nothing on the way to it could have been made, and
// nothing can be exchanged, by anybody but root, this process's user and owner.
type place struct {
	given string // as it was asked for, absolute
	path  string // without links
	owner int    // of the directory. Daemons there are processes of this user; only root may ask those of others.
}

// mostLinks is how many links may be on the way, as the kernel has it.
const mostLinks = 40

// look goes the way to a state directory from the root, link by link. The error is fs.ErrNotExist if there is
// none, unless missing folders are to be made (0700), and else a *[DirError].
func look(dir string, make bool) (place, error) {
	given, err := filepath.Abs(dir)
	if err != nil {
		return place{}, &DirError{dir, "is a relative path, and the working directory is gone", "name it by an absolute path"}
	}
	p := place{given: given, path: "/"}
	var way []step
	for rest, links := names(given), 0; ; {
		s, err := p.step(way, make)
		if err != nil {
			return place{}, err
		}
		way = append(way, s)
		if s.info.Mode()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(s.path)
			if links++; err != nil || links > mostLinks {
				return place{}, &DirError{given, "cannot be found: the link " + s.path + " leads nowhere", ""}
			}
			p.path, rest = filepath.Dir(s.path), append(names(to), rest...)
			if filepath.IsAbs(to) {
				p.path = "/"
			}
		}
		if len(rest) == 0 {
			break
		}
		p.path, rest = filepath.Join(p.path, rest[0]), rest[1:] // where no link is on the way, ".." is above
	}
	last := len(way) - 1
	p.owner = way[last].owner()
	for _, s := range way[:last] {
		if err := p.trustStep(s, p.owner); err != nil {
			return place{}, err
		}
	}
	return p, p.trustDir(way[last])
}

// names are those in a path, which may be relative.
func names(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// step looks at what is at p.path. A folder that is missing may be made, if nobody else can change the way so far.
func (p place) step(way []step, make bool) (step, error) {
	info, err := os.Lstat(p.path)
	if make && errors.Is(err, fs.ErrNotExist) {
		for _, s := range way {
			if err := p.trustStep(s, os.Geteuid()); err != nil {
				return step{}, err
			}
		}
		if err = os.Mkdir(p.path, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			info, err = os.Lstat(p.path)
		}
	}
	switch {
	case err == nil:
		return step{p.path, info}, nil
	case make:
		return step{}, &DirError{p.given, fmt.Sprintf("cannot be created: %v", err), ""}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return step{}, fs.ErrNotExist
	case errors.Is(err, fs.ErrPermission):
		return step{}, p.denied(way[len(way)-1], p.path)
	}
	return step{}, &DirError{p.given, fmt.Sprintf("cannot be looked into: %v", err), ""}
}

// step is a folder or link on the way to a state directory, or a file in it.
type step struct {
	path string
	info fs.FileInfo
}

func (s step) owner() int { return int(s.info.Sys().(*syscall.Stat_t).Uid) }
func (s step) group() int { return int(s.info.Sys().(*syscall.Stat_t).Gid) }

// String says whose it is, and who may write to it.
func (s step) String() string {
	mode := s.info.Mode()
	bits := mode.Perm()
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return fmt.Sprintf("belongs to %s, mode %04o", userText(s.owner()), uint32(bits))
}

// trustStep refuses what somebody else has put on the way to a state directory of owner's, or could exchange.
// Root believes the owner of a directory about that one: commands about a service can be root's.
func (p place) trustStep(s step, owner int) error {
	mode := s.info.Mode()
	switch uid, us := s.owner(), os.Geteuid(); {
	case uid != 0 && uid != us && (us != 0 || uid != owner) && !unmapped(uid):
		what := s.path
		if mode&fs.ModeSymlink != 0 {
			what += ", a link,"
		}
		return &DirError{p.given, fmt.Sprintf("is not believed: %s %s, not to %s", what, s, userText(us)), foreignAdvice(uid)}
	// Where everybody may write, a sticky folder keeps everybody from exchanging what is another's.
	case mode.IsDir() && mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0:
		return &DirError{p.given, fmt.Sprintf("is not believed: %s can be written by every user (it %s)", s.path, s), "chmod +t or o-w " + s.path + ", or " + chooseAnother}
	}
	return nil
}

// trustDir refuses a state directory that is none, of which others are masters, or into which they could put things.
func (p place) trustDir(s step) error {
	us, mode := os.Geteuid(), s.info.Mode()
	var who string
	switch {
	case !mode.IsDir():
		return &DirError{p.given, "is not a directory", ""}
	case us != 0 && p.owner != us && p.owner != 0:
		return &DirError{p.given, fmt.Sprintf("%s, not to %s", s, userText(us)), foreignAdvice(p.owner)}
	case mode.Perm()&0o002 != 0:
		who = "every user"
	case mode.Perm()&0o020 != 0 && s.group() != ownGroup(p.owner):
		who = fmt.Sprintf("all of group %d", s.group())
	default:
		return nil
	}
	return &DirError{p.given, fmt.Sprintf("can be written by %s (it %s)", who, s), "chmod go-w " + p.path + " if all that is in it is yours, or " + chooseAnother}
}

// open opens a file of the directory, if it is its owner's, who alone can have written what is in it.
func (p place) open(name string, flags int) (*os.File, error) {
	path := filepath.Join(p.path, name)
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case errors.Is(err, syscall.ELOOP):
		return nil, &DirError{p.given, fmt.Sprintf("is not believed: %s is a link", path), "see who made it, and remove it"}
	case errors.Is(err, fs.ErrPermission):
		return nil, p.deniedHere(path)
	case err != nil:
		return nil, &DirError{p.given, fmt.Sprintf("cannot be used: %v", err), ""}
	}
	info, err := f.Stat()
	if err == nil {
		err = p.trust(step{path, info}, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// trust refuses what is in the directory, unless it is of that type and its owner's, who alone can have written it. What
// is root's is no better in a directory of another user, who can put there what root made elsewhere.
func (p place) trust(s step, kind fs.FileMode) error {
	switch uid := s.owner(); {
	case uid != p.owner:
		return &DirError{p.given, fmt.Sprintf("is not believed: %s %s, not to %s", s.path, s, userText(p.owner)), "see who made it, and remove it"}
	case s.info.Mode().Type() != kind:
		return &DirError{p.given, fmt.Sprintf("is not believed: %s is something else (it %s)", s.path, s), "see who made it, and remove it"}
	case s.info.Mode().Perm()&0o022 != 0:
		return &DirError{p.given, fmt.Sprintf("is not believed: %s can be written by others (it %s)", s.path, s), "stop what has it, and remove it: it is made anew with mode 0600"}
	}
	return nil
}

// denied says that this process may not look at a path because of a folder.
func (p place) denied(folder step, path string) error {
	return &DirError{
		p.given, fmt.Sprintf("cannot be looked into: %s: permission denied to %s (%s %s)", path, userText(os.Geteuid()), folder.path, folder),
		foreignAdvice(folder.owner()),
	}
}

// deniedHere says that this process may not look at what is in the directory.
func (p place) deniedHere(path string) error {
	info, err := os.Lstat(p.path)
	if err != nil {
		return &DirError{p.given, fmt.Sprintf("cannot be looked into: %v", err), ""}
	}
	return p.denied(step{p.path, info}, path)
}

// foreignAdvice is what to do about what belongs to another user.
func foreignAdvice(uid int) string {
	if uid == 0 {
		return "run the command as root, or " + chooseAnother
	}
	return fmt.Sprintf("run the command as %s or root to use that one, or %s", userText(uid), chooseAnother)
}

// userText is a user for messages: "user 1000 (ada)".
func userText(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("user %d (%s)", uid, u.Username)
	}
	return fmt.Sprintf("user %d", uid)
}

// ownGroup is the group that a user's files have by default, -1 if it cannot be told. On many systems it is
// the user's alone, and may write where the user may.
func ownGroup(uid int) int {
	if uid == os.Geteuid() {
		return os.Getegid()
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		if gid, err := strconv.Atoi(u.Gid); err == nil {
			return gid
		}
	}
	return -1
}

// socketName is the path of a daemon's socket. Of the two that a directory reached by a link has, the shorter one.
func (p place) socketName(name string) (string, error) {
	paths := []string{filepath.Join(p.path, name+".sock"), filepath.Join(p.given, name+".sock")}
	path := slices.MinFunc(paths, func(a, b string) int { return len(a) - len(b) })
	return path, checkLength(p.given, path)
}

func checkLength(dir, path string) error {
	if len(path) <= maxSocketPath {
		return nil
	}
	return &DirError{dir, fmt.Sprintf("has too long a path: the socket %s would need %d bytes, the system allows %d",
		filepath.Base(path), len(path), maxSocketPath), ""}
}

// PrepareDir creates a state directory (0700), or checks that nobody else can plant a lock, a
// socket or a log in it: the default directory below /tmp could have been made by another user. The
// error is a *[DirError].
func PrepareDir(dir string) error {
	_, err := prepare(dir)
	return err
}

func prepare(dir string) (place, error) {
	p, err := look(dir, true)
	if us := os.Geteuid(); err == nil && p.owner != us {
		err = &DirError{p.given, fmt.Sprintf("belongs to %s, not to %s: what runs in it runs as its owner", userText(p.owner), userText(us)), foreignAdvice(p.owner)}
	}
	return p, err
}
