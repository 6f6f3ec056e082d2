package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	if file == "" {
		cookie, err := readCookie(path)
		if !errors.Is(err, os.ErrNotExist) {
			return cookie, err
		}
		return makeCookie(path)
	}
	cookie, err := readCookie(file)
	if err != nil {
		return "", err
	}
	return cookie, replaceCookie(path, cookie)
}

func makeCookie(path string) (string, error) {
	cookie := rand.Text()
	return cookie, replaceCookie(path, cookie)
}

// replaceCookie puts the cookie there in one step: a node that starts meanwhile reads the old one or
// the new one.
func replaceCookie(path, cookie string) error {
	file, err := os.CreateTemp(filepath.Dir(path), cookieName+".*") // 0600
	if err != nil {
		return fmt.Errorf("keep the cookie: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(cookie)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("keep the cookie: %w", err)
	}
	return nil
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
		return "", &BuildError{
			Missing: fmt.Sprintf("the cookie file %s belongs to user %d, not to user %d or root: whose it is knows the cookie", path, uid, os.Geteuid()),
			Advice:  "chown it, or name another one as cluster.erlang.cookie_file",
		}
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", &BuildError{
			Missing: fmt.Sprintf("the cookie file %s can be read by others (mode %04o)", path, info.Mode().Perm()),
			Advice:  "chmod 600 " + path,
		}
	}
	bad := &BuildError{
		Missing: fmt.Sprintf("%s holds no cookie: it must be one word of 1 to %d printable ASCII characters", path, longestCookie),
		Advice:  "openssl rand -hex 20 > " + path,
	}
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
