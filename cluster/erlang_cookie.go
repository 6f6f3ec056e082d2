package cluster

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/wholefile"
)

// cookieName is the file that Erlang reads from a home directory. It must be its owner's alone.
const cookieName = ".erlang.cookie"

// placeCookie makes dir the home of nodes: a directory, 0700, with the cookie, 0600. The cookie is that
// of file, or if file is "" the one that is there, or a new one.
func placeCookie(dir, file string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("keep the cookie: %w", err)
	}
	path := filepath.Join(dir, cookieName)
	cookie, err := readCookie(cmp.Or(file, path))
	switch {
	case file == "" && errors.Is(err, os.ErrNotExist):
		cookie = rand.Text()
	case err != nil || file == "":
		return cookie, err
	}
	if err := wholefile.Write(path, []byte(cookie), 0o600); err != nil {
		return "", fmt.Errorf("keep the cookie: %w", err)
	}
	return cookie, nil
}

// longestCookie is what an Erlang atom holds.
const longestCookie = 255

// readCookie reads a cookie that only the owner of the file can know. Errors never say what is in it.
func readCookie(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("cookie: %w", err)
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() && uid != 0 {
		return "", advice.With(fmt.Errorf("the cookie file %s belongs to user %d, not to user %d or root: whose it is knows the cookie", path, uid, os.Geteuid()),
			"chown it, or name another one as cluster.erlang.cookie_file")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", advice.With(fmt.Errorf("the cookie file %s can be read by others (mode %04o)", path, info.Mode().Perm()),
			"chmod 600 "+path)
	}
	bad := advice.With(fmt.Errorf("%s holds no cookie: it must be one word of 1 to %d printable ASCII characters", path, longestCookie),
		"openssl rand -hex 20 > "+path)
	if info.Size() > 4*longestCookie || !info.Mode().IsRegular() {
		return "", bad
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cookie: %w", err)
	}
	cookie := strings.TrimRight(string(text), "\r\n")
	outside := func(r rune) bool { return r <= ' ' || r > '~' }
	if cookie == "" || len(cookie) > longestCookie || strings.ContainsFunc(cookie, outside) {
		return "", bad
	}
	return cookie, nil
}
