package cmd

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each test that the threat model names is there.
func TestThreatModelNamesTests(t *testing.T) {
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	err = filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		all.Write(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(text, -1)
	if len(names) == 0 {
		t.Fatal("it names none")
	}
	for _, name := range names {
		if !bytes.Contains(all.Bytes(), []byte("\nfunc "+string(name[1])+"(")) {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// Nothing that people copy shows the token on a command line, where every user of the machine can read it.
func TestTokenIsOnNoCommandLine(t *testing.T) {
	pages, err := filepath.Glob("../completions/man/*")
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(pages, documents, []string{"../README.md", "../CONTRIBUTING.md"}) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("$(erlmcp lb token")) {
			t.Errorf("%s puts the token on a command line", name)
		}
	}
}
