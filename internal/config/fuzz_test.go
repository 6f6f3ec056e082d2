package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzReadYAML reads any text as a file. What is accepted can be printed, and the print is read back as
// the same configuration.
func FuzzReadYAML(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	var whole bytes.Buffer
	if err := Default().Print(&whole, Explained); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())

	read := func(text []byte) (*Config, error) {
		c := Default()
		c.origins = make(map[string]Origin)
		var p problems
		c.readYAML("fuzz.yaml", text, &p)
		if len(p) == 0 {
			c.fill()
			p = append(p, split(c.Validate())...)
		}
		return c, p.err()
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := read(text)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := first.Print(&out, first.WithOrigins); err != nil {
			t.Fatal(err)
		}
		second, err := read(out.Bytes())
		if err != nil {
			t.Fatalf("%v in the print\n%s", err, out.Bytes())
		}
		if !reflect.DeepEqual(first.LB, second.LB) || !reflect.DeepEqual(first.Cluster, second.Cluster) ||
			!reflect.DeepEqual(first.Loadtest, second.Loadtest) || !reflect.DeepEqual(first.Health, second.Health) {
			t.Fatalf("printed as\n%s\nread back as %+v\nwant %+v", out.Bytes(), second, first)
		}
	})
}
