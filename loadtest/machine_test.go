package loadtest

import (
	"errors"
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/machine"
)

func goodMachine() machine.Facts {
	return machine.Facts{
		Cores: 2, Descriptors: 20_000, EphemeralPorts: 28_232, MemoryAvailable: 20 << 30,
		FilesMax: 2_000_000, FilesUsed: 1000, ConntrackMax: 262_144,
	}
}

func TestMachine(t *testing.T) {
	for failed, change := range map[string]func(*machine.Facts, *Spec){
		"":            func(*machine.Facts, *Spec) {},
		"descriptors": func(m *machine.Facts, s *Spec) { m.Descriptors, s.Agents = 1024, 2 },
		"sources":     func(m *machine.Facts, _ *Spec) { m.SourceError = errors.New("no such address") },
		"ports":       func(m *machine.Facts, _ *Spec) { m.EphemeralPorts = 100 },
		"memory":      func(m *machine.Facts, _ *Spec) { m.MemoryAvailable = 1 << 20 },
		"open_files":  func(m *machine.Facts, _ *Spec) { m.FilesMax = 10_000 },
		"conntrack":   func(m *machine.Facts, _ *Spec) { m.ConntrackMax = 1000 },
	} {
		m, s := goodMachine(), Default()
		change(&m, &s)
		if got := failedNames(CheckMachine(m, &s, 4)); got != failed {
			t.Errorf("%q failed, want %q", got, failed)
		}
	}
}

func TestThisMachine(t *testing.T) {
	s := Default()
	m, err := ThisMachine(&s)
	if err != nil || m.Cores == 0 || m.Descriptors == 0 || m.MemoryAvailable == 0 {
		t.Errorf("%+v, error %v", m, err)
	}
}
