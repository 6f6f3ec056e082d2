package systemd

import (
	"os"
	"path/filepath"
	"testing"
)

// A service that could not read, execute or enter something is warned of, whoever prints its unit.
func TestObstacle(t *testing.T) {
	root, err := os.MkdirTemp("/var", "erlmcp-test")
	if err != nil {
		t.Skip("needs a directory that is not below /tmp:", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(root, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	closed := filepath.Join(root, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(file("closed/inside", 0o644), link); err != nil {
		t.Fatal(err)
	}
	self, stranger := os.Getuid(), 65534
	for _, c := range []struct {
		what   string
		uid    int
		groups []int
		path   string
		want   os.FileMode
		says   string // "" is no obstacle
	}{
		{"open to all", stranger, nil, file("open", 0o644), toRead, ""},
		{"the owner's", stranger, nil, file("own", 0o600), toRead, "mcp may not read it"},
		{"the owner", self, nil, filepath.Join(root, "own"), toRead, ""},
		{"an owner who has less than others", self, nil, file("odd", 0o044), toRead, "mcp may not read it"},
		{"the group's", stranger, []int{7, os.Getgid()}, file("group", 0o640), toRead, ""},
		{"not the group's", stranger, []int{7}, filepath.Join(root, "group"), toRead, "mcp may not read it"},
		{"no program", stranger, nil, filepath.Join(root, "open"), toExecute, "mcp may not execute it"},
		{"a program", stranger, nil, file("program", 0o755), toExecute, ""},
		{"in a closed directory", stranger, nil, filepath.Join(closed, "inside"), toRead, "mcp may not enter " + closed},
		{"by a link into one", stranger, nil, link, toRead, "mcp may not enter " + closed},
		{"a directory to write to", stranger, nil, root, toWrite | toExecute, "mcp may not write to it"},
		{"what is not there", stranger, nil, filepath.Join(root, "none"), toRead, ""},
		{"in /tmp", self, nil, "/tmp/x", toRead, "services have a /tmp of their own"},
		{"beside /tmp", self, nil, "/tmpfile", toRead, ""},
	} {
		a := &account{name: "mcp", uid: c.uid, groups: c.groups}
		if got := a.obstacle(c.path, c.want); got != c.says {
			t.Errorf("%s: %q, want %q", c.what, got, c.says)
		}
	}
}

func TestUnitText(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "": `""`, "a b": `"a b"`, "100%": "100%%", "a\nb": `"a\nb"`, `a"b`: `"a\"b"`, `a\b`: `"a\\b"`, "$HOME": "$HOME", "é": "é",
		"a;b": `"a;b"`, "\x01": `"\x01"`,
	} {
		if got := unitText(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if got := unitWord("$a %b"); got != `"$$a %%b"` {
		t.Errorf("a word is %s", got)
	}
}

func TestOnServicePath(t *testing.T) {
	for program, want := range map[string]bool{"sh": true, "/opt/x": true, "./x": true, "erlmcp-nobody-has-this": false} {
		if got := onServicePath(program); got != want {
			t.Errorf("%s: %t", program, got)
		}
	}
}
