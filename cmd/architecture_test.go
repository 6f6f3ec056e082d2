package cmd

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mostLines is how long a package may be that a stranger reads, without its tests.
const mostLines = 5000

// The tables of the packages of balancer and load test in ARCHITECTURE say what each imports of ours, and no package is longer than can be read.
func TestPackages(t *testing.T) {
	text, err := os.ReadFile("../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	const ours = "github.com/erlmcp/erlmcp/"
	row := regexp.MustCompile("(?m)^\\| `((?:proxy|loadtest)[^`]*)` \\|[^|]*\\| ?([^|]*?) ?\\|$")
	told := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		told[m[1]] = m[2]
	}
	err = filepath.WalkDir("..", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return err
		}
		lines := 0
		imports := make(map[string]bool)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			lines += strings.Count(string(source), "\n")
			f, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, i := range f.Imports {
				if name, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), ours); ok {
					imports[name] = true
				}
			}
		}
		name := filepath.ToSlash(strings.TrimPrefix(dir, "../"))
		if lines > mostLines {
			t.Errorf("%s has %d lines, at most %d can be read", name, lines, mostLines)
		}
		top, below, _ := strings.Cut(name, "/")
		forTests := strings.HasSuffix(below, "test") // only they import it
		if lines == 0 || forTests || top != "proxy" && top != "loadtest" {
			return nil
		}
		var list []string
		for i := range imports {
			list = append(list, "`"+i+"`")
		}
		slices.Sort(list)
		if want := strings.Join(list, ", "); told[name] != want {
			t.Errorf("docs/ARCHITECTURE.md: the row of %s says it imports\n%s\nbut it is\n%s", name, told[name], want)
		}
		delete(told, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range told {
		t.Errorf("docs/ARCHITECTURE.md has a row of %s, which is none", name)
	}
}
