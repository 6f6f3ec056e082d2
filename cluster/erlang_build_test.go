package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// files writes files, empty when the text is "", and makes directories of names that end with a slash.
func files(t *testing.T, root string, texts map[string]string) {
	t.Helper()
	for name, text := range texts {
		path := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if strings.Contains(name, "bin/") && !strings.Contains(name, "ebin/") {
			mode = 0o700
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindBuild(t *testing.T) {
	tools := t.TempDir()
	files(t, tools, map[string]string{"bin/erl": "#!/bin/sh\n"})
	t.Setenv("PATH", filepath.Join(tools, "bin"))
	const rel = "_build/prod/rel/erlmcp/"
	tests := []struct {
		name    string
		release string
		files   map[string]string
		want    string // the error, with ROOT for the root
		hint    string
		script  string // or the ebins
	}{
		{"nothing", "", nil, "cluster.erlang.root: nothing is compiled in ROOT (no _build/*/lib/*/ebin, no ebin)", "cd ROOT && rebar3 compile", ""},
		{"no release", "erlmcp", nil, "cluster.erlang.release: there is no release erlmcp in ROOT/_build/*/rel", "cd ROOT && rebar3 as prod release", ""},
		{"release", "erlmcp", map[string]string{rel + "bin/erlmcp": "x", rel + "releases/start_erl.data": "13 1", rel + "releases/1/": ""}, "", "", rel + "bin/erlmcp"},
		{"unpacked release", "erlmcp", map[string]string{"bin/erlmcp": "x", "releases/start_erl.data": "13 1", "releases/1/": ""}, "", "", "bin/erlmcp"},
		{"other profile", "erlmcp", map[string]string{
			"_build/stage/rel/erlmcp/bin/erlmcp": "x", "_build/stage/rel/erlmcp/releases/start_erl.data": "13 1", "_build/stage/rel/erlmcp/releases/1/": "",
		}, "", "", "_build/stage/rel/erlmcp/bin/erlmcp"},
		{"release without version", "erlmcp", map[string]string{rel + "bin/erlmcp": "x"}, "the release in ROOT/_build/prod/rel/erlmcp is not complete: no releases/start_erl.data", "cd ROOT && rebar3 as prod release", ""},
		{"broken version", "erlmcp", map[string]string{rel + "bin/erlmcp": "x", rel + "releases/start_erl.data": "13"}, "the release in ROOT/_build/prod/rel/erlmcp is not complete: releases/start_erl.data does not name a version", "cd ROOT && rebar3 as prod release", ""},
		{"missing version", "erlmcp", map[string]string{rel + "bin/erlmcp": "x", rel + "releases/start_erl.data": "13 2"}, "the release in ROOT/_build/prod/rel/erlmcp is not complete: no releases/2", "cd ROOT && rebar3 as prod release", ""},
		{"compiled", "", map[string]string{
			"_build/default/lib/erlmcp/ebin/erlmcp.app": "", "_build/default/lib/erlmcp/ebin/a.beam": "", "_build/default/lib/dep/ebin/": "",
		}, "", "", "_build/default/lib/dep/ebin _build/default/lib/erlmcp/ebin"},
		{"plain", "", map[string]string{"ebin/erlmcp.app": "", "ebin/a.beam": ""}, "", "", "ebin"},
		{"no application", "", map[string]string{"ebin/a.beam": ""}, "cluster.erlang.application: there is no erlmcp.app in ROOT/ebin", "cd ROOT && rebar3 compile; or change cluster.erlang.application", ""},
		{"no module", "", map[string]string{"ebin/erlmcp.app": ""}, "no compiled module in ROOT/ebin", "cd ROOT && rebar3 compile", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			files(t, root, test.files)
			b, err := findBuild(Erlang{Root: root, Release: test.release, Application: "erlmcp"})
			got, hint := "", ""
			var missing *advice.Error
			if errors.As(err, &missing) {
				got, hint = missing.Error(), missing.Hint()
			}
			if got = strings.ReplaceAll(got, root, "ROOT"); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if hint = strings.ReplaceAll(hint, root, "ROOT"); hint != test.hint {
				t.Errorf("hint %s\nwant %s", hint, test.hint)
			}
			if err != nil {
				return
			}
			found := b.ebins
			if b.script != "" {
				found = []string{b.script}
			}
			for i := range found {
				found[i], _ = filepath.Rel(root, found[i])
			}
			if strings.Join(found, " ") != test.script {
				t.Errorf("found %q", found)
			}
		})
	}
	t.Setenv("PATH", "")
	if _, err := findBuild(Erlang{Root: tools}); err == nil || err.Error() != "the program erl is not in PATH" {
		t.Errorf("without erl: %v", err)
	}
	if _, err := findBuild(Erlang{Root: tools + "/none"}); err == nil || !strings.HasPrefix(err.Error(), "cluster.erlang.root: there is no directory ") {
		t.Errorf("without a root: %v", err)
	}
}

func TestVMArgs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vm.args")
	files(t, dir, map[string]string{"vm.args": "## c\n-name a@b\r\n-sname x\n-setcookie s\n+K true\n\n-kernel inet_dist_use_interface {0,0,0,0}\n  -env A 1\n"})
	kept, err := readVMArgs(path)
	if want := []string{"+K true", "-env A 1"}; err != nil || !slices.Equal(kept.flags, want) || kept.extra != nil {
		t.Errorf("got %q, %v", kept, err)
	}
	for text, want := range map[string]vmArgs{
		"+K true\n-extra a -heart\n# no\n-name b\n":            {[]string{"+K true"}, []string{"-extra a -heart", "-name b"}},
		"-sname x -extra\n-extra":                              {nil, []string{"-extra", "-extra"}},
		"-env A 1 -extra one\n-kernel inet_dist_use_interface": {[]string{"-env A 1"}, []string{"-extra one", "-kernel inet_dist_use_interface"}},
	} {
		files(t, dir, map[string]string{"vm.args": text})
		if kept, err := readVMArgs(path); err != nil || !slices.Equal(kept.flags, want.flags) || !slices.Equal(kept.extra, want.extra) {
			t.Errorf("%q: got %q, %v", text, kept, err)
		}
	}
	for text, want := range map[string]string{
		"-heart":                 "vm.args:1: -heart is not allowed: it would start nodes behind the supervisor's back",
		"\n+K true -setcookie s": "vm.args:2: -setcookie is not allowed: a cookie on a command line",
		"-args_file x":           "vm.args:1: -args_file is not allowed: ",
		"-name a@b -heart":       "vm.args:1: -name is not allowed: ",
	} {
		files(t, dir, map[string]string{"vm.args": text})
		if _, err := readVMArgs(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// A template remains one, for the release's script to fill in, and nothing of an earlier start counts.
func TestVMArgsTemplate(t *testing.T) {
	root, state := t.TempDir(), t.TempDir()
	dir := makeRelease(t, root, "")
	files(t, dir, map[string]string{"releases/1.0.0/vm.args.src": "-name ${NODE}\n+P ${PROCESSES:-100000}\n-extra ${MORE}"})
	files(t, state, map[string]string{"erlang/a/vm.args": "old", "erlang/a/vm.args.orig": "old"})
	e, err := newErlang(Erlang{Root: root, Release: "erlmcp", Application: "app", Address: "127.0.0.1"}, state)
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Program(topology.Node{Name: "a", TCP: 1, HTTP: 2, SSE: 3})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(state, "erlang", "a", "vm.args")
	if !slices.Contains(p.Env, "VMARGS_PATH="+path) || !slices.Contains(p.Env, "HOME="+filepath.Join(state, "erlang")) || p.Args[1] != "foreground" {
		t.Errorf("program is %+v", p)
	}
	text, err := os.ReadFile(path + ".src")
	want := "+P ${PROCESSES:-100000}\n-name a@127.0.0.1\n-kernel inet_dist_use_interface {127,0,0,1}\n-app tcp_port 1 http_port 2 sse_port 3\n-extra ${MORE}\n"
	if err != nil || string(text) != want {
		t.Errorf("got %s, %v", text, err)
	}
	for _, name := range []string{path, path + ".orig"} {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func TestCookies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	made, err := placeCookie(dir, "")
	if err != nil || len(made) < 20 {
		t.Fatalf("got %d characters, %v", len(made), err)
	}
	if again, err := placeCookie(dir, ""); err != nil || again != made {
		t.Errorf("another start has another cookie, %v", err)
	}
	given := filepath.Join(t.TempDir(), "cookie")
	tests := []struct {
		text string
		mode os.FileMode
		want string // in the error
	}{
		{"given\n", 0o600, ""},
		{"given", 0o400, ""},
		{"given", 0o640, " can be read by others (mode 0640)"},
		{"", 0o600, " holds no cookie"},
		{"two words", 0o600, " holds no cookie"},
		{strings.Repeat("x", 256), 0o600, " holds no cookie"},
		{strings.Repeat("x", 5000), 0o600, " holds no cookie"},
		{"gi\x00ven", 0o600, " holds no cookie"},
	}
	for _, test := range tests {
		_ = os.Remove(given)
		if err := os.WriteFile(given, []byte(test.text), test.mode); err != nil {
			t.Fatal(err)
		}
		cookie, err := placeCookie(dir, given)
		switch {
		case test.want == "" && (err != nil || cookie != "given"):
			t.Errorf("%q: got %q, %v", test.text, cookie, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%q: got %v", test.text, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("files are %v, %v", left, err)
	}
}

func TestFlagsOfTheEnvironment(t *testing.T) {
	t.Setenv("ERL_ZFLAGS", "-extra -name") // words of the application
	t.Setenv("ERL_FLAGS", "+K true -setcookie seen")
	_, err := newErlang(Erlang{}, "")
	if err == nil || !strings.HasPrefix(err.Error(), "the environment variable ERL_FLAGS has the flag -setcookie: ") {
		t.Errorf("got %v", err)
	}
}

func TestCookieOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give a file away")
	}
	path := filepath.Join(t.TempDir(), "cookie")
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 54321, 54321); err != nil {
		t.Fatal(err)
	}
	if _, err := readCookie(path); err == nil || !strings.Contains(err.Error(), "belongs to user 54321, not to user 0") {
		t.Errorf("got %v", err)
	}
}
