package cmd

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The completions, manual pages and packaged units that are checked in are those of this program.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	const dir = "../completions"
	for shell, name := range map[string]string{
		"bash": "erlmcp.bash", "zsh": "_erlmcp", "fish": "erlmcp.fish", "powershell": "erlmcp.ps1",
	} {
		var script bytes.Buffer
		if code := Main([]string{"completion", shell}, strings.NewReader(""), &script, io.Discard); code != 0 {
			t.Fatalf("completion %s: exit code %d", shell, code)
		}
		sameFile(t, filepath.Join(dir, name), script.Bytes())
	}

	for _, role := range []string{"cluster", "lb"} {
		var file bytes.Buffer
		if code := Main([]string{role, "unit", "--packaged"}, strings.NewReader(""), &file, io.Discard); code != 0 {
			t.Fatalf("%s unit: exit code %d", role, code)
		}
		sameFile(t, "../packaging/erlmcp-"+role+".service", file.Bytes())
	}

	pages := t.TempDir()
	if code := Main([]string{"man", pages}, strings.NewReader(""), io.Discard, io.Discard); code != 0 {
		t.Fatalf("man: exit code %d", code)
	}
	want, got := namesIn(t, pages), namesIn(t, filepath.Join(dir, "man"))
	if got != want {
		t.Errorf("manual pages are\n%s\nwant\n%s", got, want)
	}
	for _, name := range strings.Fields(want) {
		page, err := os.ReadFile(filepath.Join(pages, name))
		if err != nil {
			t.Fatal(err)
		}
		sameFile(t, filepath.Join(dir, "man", name), page)
	}
}

func sameFile(t *testing.T, name string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not current: run go generate ./cmd (%v)", name, err)
	}
}

func namesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, "\n")
}
