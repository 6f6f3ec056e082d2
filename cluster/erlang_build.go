package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/advice"
)

// erlangBuild is what to start, found on disk.
type erlangBuild struct {
	dir string // working directory

	script string // bin/NAME of a release; "" for a compiled project
	vmArgs string // vm.args of the release, or its template; may be ""

	erl   string   // program
	ebins []string // directories with compiled modules
}

// findBuild looks for the release, or for the compiled project.
func findBuild(e Erlang) (erlangBuild, error) {
	if info, err := os.Stat(e.Root); err != nil || !info.IsDir() {
		return erlangBuild{}, advice.With(fmt.Errorf("cluster.erlang.root: there is no directory %s", e.Root),
			"set it to the directory of the rebar3 project")
	}
	if e.Release != "" {
		return findRelease(e)
	}
	return findEbins(e)
}

// findRelease prefers the profile prod, then default; a root that is itself a release comes first.
func findRelease(e Erlang) (erlangBuild, error) {
	candidates := []string{e.Root}
	for _, profile := range append([]string{"prod", "default"}, profiles(e.Root)...) {
		candidates = append(candidates, filepath.Join(e.Root, "_build", profile, "rel", e.Release))
	}
	for _, dir := range candidates {
		script := filepath.Join(dir, "bin", e.Release)
		info, err := os.Stat(script)
		if err != nil || info.IsDir() {
			continue
		}
		incomplete := func(what string) error {
			return advice.With(fmt.Errorf("the release in %s is not complete: %s", dir, what), releaseAdvice(e))
		}
		if info.Mode()&0o111 == 0 {
			return erlangBuild{}, incomplete("bin/" + e.Release + " is not executable")
		}
		version, err := releaseVersion(dir)
		if err != nil {
			return erlangBuild{}, incomplete(err.Error())
		}
		rel := filepath.Join(dir, "releases", version)
		for _, path := range []string{script, rel, filepath.Join(dir, "lib"), filepath.Join(rel, "sys.config"), filepath.Join(rel, "sys.config.src")} {
			if err := readable(path); err != nil {
				return erlangBuild{}, advice.With(fmt.Errorf("the release in %s cannot be read: %w", dir, err),
					"chmod -R a+rX "+dir)
			}
		}
		return erlangBuild{dir: dir, script: script, vmArgs: vmArgsOf(dir, version)}, nil
	}
	return erlangBuild{}, advice.With(fmt.Errorf("cluster.erlang.release: there is no release %s in %s", e.Release, filepath.Join(e.Root, "_build/*/rel")),
		releaseAdvice(e))
}

// readable reports a file or directory that is there and cannot be read.
func readable(path string) error {
	file, err := os.Open(path)
	if err == nil {
		return file.Close()
	}
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func releaseAdvice(e Erlang) string { return "cd " + e.Root + " && rebar3 as prod release" }

// releaseVersion is the release's version, from releases/start_erl.data: "ERTS-VERSION VERSION".
func releaseVersion(dir string) (string, error) {
	const name = "releases/start_erl.data"
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("no %s", name)
	}
	words := strings.Fields(string(text))
	if len(words) != 2 {
		return "", fmt.Errorf("%s does not name a version", name)
	}
	if info, err := os.Stat(filepath.Join(dir, "releases", words[1])); err != nil || !info.IsDir() {
		return "", fmt.Errorf("no releases/%s", words[1])
	}
	return words[1], nil
}

// vmArgsOf is the file that the release's own script would use; "" when there is none.
func vmArgsOf(dir, version string) string {
	for _, name := range []string{"vm.args", filepath.Join("releases", version, "vm.args")} {
		for _, suffix := range []string{".src", ".orig", ""} {
			path := filepath.Join(dir, name+suffix)
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	return ""
}

// findEbins takes the first of the profiles default and prod that is compiled, or ROOT/ebin.
func findEbins(e Erlang) (erlangBuild, error) {
	compile := "cd " + e.Root + " && rebar3 compile"
	erl, err := exec.LookPath("erl")
	if err != nil {
		return erlangBuild{}, advice.With(errors.New("the program erl is not in PATH"),
			"install Erlang/OTP 25 or newer (Debian: apt install erlang-base)")
	}
	for _, profile := range append([]string{"default", "prod"}, profiles(e.Root)...) {
		ebins, _ := filepath.Glob(filepath.Join(e.Root, "_build", profile, "lib", "*", "ebin"))
		if len(ebins) > 0 {
			return checkEbins(e, erlangBuild{dir: e.Root, erl: erl, ebins: ebins}, compile)
		}
	}
	if ebin := filepath.Join(e.Root, "ebin"); isDir(ebin) {
		return checkEbins(e, erlangBuild{dir: e.Root, erl: erl, ebins: []string{ebin}}, compile)
	}
	return erlangBuild{}, advice.With(fmt.Errorf("cluster.erlang.root: nothing is compiled in %s (no _build/*/lib/*/ebin, no ebin)", e.Root),
		compile)
}

// checkEbins looks for the application and for modules.
func checkEbins(e Erlang, b erlangBuild, compile string) (erlangBuild, error) {
	for _, ebin := range b.ebins {
		if _, err := os.Stat(filepath.Join(ebin, e.Application+".app")); err != nil {
			continue
		}
		if modules, _ := filepath.Glob(filepath.Join(ebin, "*.beam")); len(modules) == 0 {
			return b, advice.With(errors.New("no compiled module in "+ebin), compile)
		}
		return b, nil
	}
	return b, advice.With(fmt.Errorf("cluster.erlang.application: there is no %s.app in %s", e.Application, strings.Join(b.ebins, ", ")),
		compile+"; or change cluster.erlang.application")
}

// profiles lists the profiles that rebar3 has built, in alphabetical order.
func profiles(root string) []string {
	dirs, _ := filepath.Glob(filepath.Join(root, "_build", "*"))
	names := make([]string, len(dirs))
	for i, dir := range dirs {
		names[i] = filepath.Base(dir)
	}
	slices.Sort(names)
	return names
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
