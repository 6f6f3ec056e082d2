package place

import (
	"os"
	"path/filepath"
	"slices"
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
		{"state home", map[string]string{"HOME": "/nowhere", "XDG_STATE_HOME": home + "/deep/er"}, uid, "/run/erlmcp", true, home + "/deep/er/erlmcp"},
		{"another default", map[string]string{"XDG_STATE_HOME": home}, uid, "/tmp/erlmcp-7", true, home + "/erlmcp-7"},
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
		}{"home", map[string]string{"HOME": home}, uid, "/run/erlmcp", true, home + "/.local/state/erlmcp"})
	}
	for _, test := range tests {
		e := env{getenv: func(name string) string { return test.variables[name] }, uid: test.uid}
		if got := e.logs(test.state, test.isDefault); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// Root's logs are in /var/log, but not among those of a service that runs as root as well.
func TestLogsOfRoot(t *testing.T) {
	for _, test := range []struct {
		service bool
		name    string
		want    []string
	}{
		{false, "erlmcp", []string{"/var/log/erlmcp"}},
		{false, "erlmcp-0", []string{"/var/log/erlmcp-0"}},
		{true, "erlmcp", nil},
		{true, "erlmcp-0", []string{"/var/log/erlmcp-0"}},
	} {
		e := env{getenv: func(string) string { return "" }, service: test.service}
		if got := e.persistent(test.name); !slices.Equal(got, test.want) {
			t.Errorf("%s, service %v: got %v, want %v", test.name, test.service, got, test.want)
		}
	}
}
