package place

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLogs(t *testing.T) {
	home := t.TempDir()
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	tests := []struct {
		name      string
		variables map[string]string
		uid       int
		state     string
		isDefault bool
		want      string
	}{
		{"chosen", map[string]string{"HOME": home}, uid, "/state", false, "/state"},
		{"service", map[string]string{"STATE_DIRECTORY": "/state", "LOGS_DIRECTORY": "/logs:/more"}, uid, "/state", false, "/logs"},
		{"of another service", map[string]string{"STATE_DIRECTORY": "/other", "LOGS_DIRECTORY": "/logs"}, uid, "/state", false, "/state"},
		{"state home", map[string]string{"HOME": "/nowhere", "XDG_STATE_HOME": home + "/deep/er"}, uid, "/state", true, home + "/deep/er/erlmcp"},
		{"relative state home", map[string]string{"HOME": home, "XDG_STATE_HOME": "x"}, uid + 1, "/state", true, "/state"},
		{"home of somebody else", map[string]string{"HOME": home}, uid + 1, "/state", true, "/state"},
		{"no home", nil, uid + 1, "/state", true, "/state"},
		{"open to all", map[string]string{"XDG_STATE_HOME": open}, uid + 1, "/state", true, "/state"},
	}
	if uid != 0 {
		tests = append(tests, struct {
			name      string
			variables map[string]string
			uid       int
			state     string
			isDefault bool
			want      string
		}{"home", map[string]string{"HOME": home}, uid, "/state", true, home + "/.local/state/erlmcp"})
	}
	for _, test := range tests {
		e := env{func(name string) string { return test.variables[name] }, test.uid}
		if got := e.logs(test.state, test.isDefault); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
