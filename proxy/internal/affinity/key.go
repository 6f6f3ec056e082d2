package affinity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxKeyFile is far more than any key.
const maxKeyFile = 4 << 10

// ParseKey reads a key of at least MinKey bytes in hexadecimal or else base64,
// plain or for URLs, with or without padding. Errors do not contain the text.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	key, err := hex.DecodeString(text)
	if err != nil {
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		if key, err = base64.RawStdEncoding.DecodeString(plain); err != nil {
			return nil, errors.New("the key is neither hexadecimal nor base64")
		}
	}
	if len(key) < MinKey {
		return nil, fmt.Errorf("the key has %d bytes, at least %d are needed", len(key), MinKey)
	}
	return key, nil
}

// LoadKey reads the key from a file that only its owner may read. If there is no
// such file it makes one with a random key; of several processes that do so at
// once, all get the same.
func LoadKey(path string) ([]byte, error) {
	key, err := ReadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(path); err != nil {
		return nil, err
	}
	return ReadKey(path)
}

// ReadKey reads the key from a file that only its owner may read.
func ReadKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case !ours(info):
		return nil, fmt.Errorf("%s belongs to user %d, not to user %d or root: whose it is knows the key; chown it, or delete it and have another made", path, ownerOf(info), os.Geteuid())
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others (mode %04o); chmod 600 it, and delete it if they may have", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ours reports whether nobody but this user and root can have written a file that others may not read.
func ours(info fs.FileInfo) bool {
	uid := ownerOf(info)
	return uid == os.Geteuid() || uid == 0
}

func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// makeKey writes the whole file under another name and then links it, which fails
// if somebody else was faster: nobody ever sees a part of a key, or two keys.
func makeKey(path string) error {
	key := make([]byte, MinKey)
	rand.Read(key) // never fails
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
