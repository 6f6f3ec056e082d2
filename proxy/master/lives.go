package master

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/erlmcp/erlmcp/internal/wholefile"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// livesName is the file in the state directory that keeps lives.
const livesName = "lives.json"

// lives is what is known of the age of the processes behind ports, see board.Port.Life. It outlives the
// balancer, for sessions do.
type lives struct {
	file  string
	known map[string]affinity.Time // by member.portName; as in the file
}

// loadLives reads the file of an earlier balancer. Without one nothing is known.
func loadLives(stateDir string) (lives, error) {
	l := lives{file: filepath.Join(stateDir, livesName)}
	text, err := os.ReadFile(l.file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &l.known)
	}
	return l, err
}

// portName is the name of a port in lives: a process elsewhere is another one.
func (m *member) portName(t board.Transport) string {
	return m.node.Name + " " + netip.AddrPortFrom(m.addr, wire.PortsOf(m.node)[t]).String()
}

// keepLives writes what has changed since the last time. One caller at a time.
func (ms *members) keepLives() error {
	ms.mu.Lock()
	now := make(map[string]affinity.Time)
	for _, m := range ms.list {
		for t, w := range m.watchers {
			if w == nil {
				continue
			}
			if life := w.port.Life.Load(); life != 0 {
				now[m.portName(board.Transport(t))] = affinity.Time(life)
			}
		}
	}
	changed := !maps.Equal(now, ms.lives.known)
	ms.lives.known = now
	ms.mu.Unlock()
	if !changed {
		return nil
	}
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return wholefile.Write(ms.lives.file, text, 0o600)
}
