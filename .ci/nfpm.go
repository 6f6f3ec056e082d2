//go:build ignore

// This program prints the section nfpms of goreleaser.yaml as the configuration of nfpm, for one architecture:
//
//	go run .ci/nfpm.go VERSION ARCH BINARY DATE <goreleaser.yaml >nfpm.yaml
package main

import (
	"log"
	"os"
	"path"

	"go.yaml.in/yaml/v3"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: nfpm VERSION ARCH BINARY DATE")
	}
	var releaser struct{ NFPMs []map[string]any }
	if err := yaml.NewDecoder(os.Stdin).Decode(&releaser); err != nil || len(releaser.NFPMs) != 1 {
		log.Fatalf("goreleaser.yaml has %d sections nfpms: %v", len(releaser.NFPMs), err)
	}
	p := releaser.NFPMs[0]
	p["name"], p["version"], p["arch"], p["platform"], p["mtime"] = p["package_name"], os.Args[1], os.Args[2], "linux", os.Args[4]
	contents, _ := p["contents"].([]any)
	bin, _ := p["bindir"].(string)
	p["contents"] = append(contents, map[string]any{
		"src": os.Args[3], "dst": path.Join(bin, "erlmcp"), "file_info": map[string]any{"mode": 0o755},
	})
	for _, key := range []string{"id", "package_name", "formats", "bindir"} {
		delete(p, key)
	}
	if err := yaml.NewEncoder(os.Stdout).Encode(p); err != nil {
		log.Fatal(err)
	}
}
