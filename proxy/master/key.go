package master

import (
	"fmt"
	"path/filepath"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
)

// keyName is the file of the secret in the state directory.
const keyName = "affinity.key"

// loadKey reads the secret by which sessions and cookies name their node, from the file that s names
// or else from the state directory, where the first start makes one.
func loadKey(s *proxy.Spec, stateDir string) ([]byte, error) {
	if s.Sticky.KeyFile == "" {
		key, err := affinity.LoadKey(filepath.Join(stateDir, keyName))
		if err != nil {
			return nil, fmt.Errorf("the key of sessions and cookies: %w", err)
		}
		return key, nil
	}
	key, err := affinity.ReadKey(s.Sticky.KeyFile)
	if err != nil {
		return nil, advice.With(fmt.Errorf("lb.sticky.key_file: %w", err), "head -c 32 /dev/urandom | base64 makes a key")
	}
	return key, nil
}
