package proxy

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

	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
)

// keyName is the file of the secret in the state directory.
const keyName = "affinity.key"

// maxKeyFile bounds what is read of a key file.
const maxKeyFile = 4096

// loadKey reads the secret by which sessions and cookies name their node, from the file that s names
// or else from the state directory, where the first start makes one.
func loadKey(s *Spec, stateDir string) ([]byte, error) {
	path := s.Sticky.KeyFile
	if path == "" {
		path = filepath.Join(stateDir, keyName)
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("make the key of sessions and cookies: %w", err)
		}
	}
	key, err := readKey(path)
	if err != nil {
		return nil, &StartError{fmt.Errorf("lb.sticky.key_file: %w", err), "head -c 32 /dev/urandom | base64 makes a key"}
	}
	return key, nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	key, err := parseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parseKey reads a key as hexadecimal or base64 text. What could be either is hexadecimal.
func parseKey(text string) ([]byte, error) {
	key, err := hex.DecodeString(text)
	if err != nil {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, errors.New("the key is neither hexadecimal nor base64")
		}
	}
	if len(key) < affinity.MinKey {
		return nil, fmt.Errorf("the key has %d bytes, at least %d are needed", len(key), affinity.MinKey)
	}
	return key, nil
}

// makeKey writes a new key unless there is one. It is there as a whole or not at all.
func makeKey(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key := make([]byte, affinity.MinKey)
	rand.Read(key)                                                   // never fails: crypto/rand
	f, err := os.CreateTemp(filepath.Dir(path), keyName+".*.partly") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.WriteString(f, hex.EncodeToString(key)+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
