package cluster

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/internal/erldist"
)

// rebar3Release builds the nodes of testdata/erlang as a release with rebar3, with these files added.
func rebar3Release(t *testing.T, added map[string]string) (root string) {
	t.Helper()
	if _, err := exec.LookPath("rebar3"); err != nil {
		t.Skipf("notice: not tested with a release of rebar3: %v", err)
	}
	root = t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "src"), os.DirFS("testdata/erlang/src")); err != nil {
		t.Fatal(err)
	}
	files(t, root, map[string]string{"rebar.config": `{relx, [
		{release, {erlmcp, "1.0.0"}, [erlmcp, sasl]}, {mode, prod}, {include_erts, false}, {extended_start_script, true},
		{sys_config_src, "config/sys.config.src"}, {vm_args_src, "config/vm.args.src"}]}.`})
	files(t, root, added)
	build := exec.Command("rebar3", "release")
	build.Dir, build.Env = root, append(os.Environ(), "HOME="+root)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("rebar3: %v\n%s", err, out)
	}
	return root
}

// filesBelow are the names and the times of the files below a directory.
func filesBelow(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		found = append(found, fmt.Sprint(path, " ", info.ModTime()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// erlangString is a string of Erlang as erldist has it.
func erlangString(text string) erldist.List {
	var list erldist.List
	for _, b := range []byte(text) {
		list = append(list, erldist.Int(b))
	}
	return list
}

var greetings = map[string]string{
	"config/sys.config.src": `[{erlmcp, [{greeting, "${ERLMCP_NODE}"}]}].` + "\n",
	"config/vm.args.src":    "-name ${ERLMCP_NODE}@127.0.0.1\n-setcookie leaked\n+K true\n-extra ${ERLMCP_NODE} word\n",
}

// Each node of a release has what its own environment makes of the templates, and nothing is written into the
// release.
func TestErlangReleaseOfRebar3(t *testing.T) {
	dir := shortDir(t)
	spec := erlangSpec(t, 4)
	spec.Erlang.Root, spec.Erlang.Release = rebar3Release(t, greetings), "erlmcp"
	before := filesBelow(t, spec.Erlang.Root)
	c := supervise(t, spec, SupervisorOptions{StateDir: dir, pace: slow})
	s, err := c.Status(t.Context())
	if err != nil || !seesAll(s) {
		t.Fatalf("status is %+v, %v", s, err)
	}
	for _, n := range s.Nodes {
		at := erldist.Node{Name: n.Name + "@127.0.0.1", Cookie: cookieOf(t, dir), As: "test@127.0.0.1"}
		got, err := at.Call(t.Context(), "application", "get_env", erldist.Atom("erlmcp"), erldist.Atom("greeting"), erldist.Atom("none"))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(erlangString(n.Name)) {
			t.Errorf("%s greets as %v, %v", n.Name, got, err)
		}
		got, err = at.Call(t.Context(), "init", "get_plain_arguments")
		if want := fmt.Sprint(erldist.List{erlangString(n.Name), erlangString("word")}); err != nil || !strings.Contains(fmt.Sprint(got), strings.Trim(want, "[]")) {
			t.Errorf("%s has the arguments %v, %v", n.Name, got, err)
		}
	}
	if after := filesBelow(t, spec.Erlang.Root); !slices.Equal(before, after) {
		t.Errorf("the release has changed: %q", after)
	}
}

// A release that is root's runs as another user's nodes.
func TestErlangReleaseOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run nodes as another user")
	}
	const nobody = 65534
	dir := shortDir(t)
	spec := erlangSpec(t, 2)
	spec.Erlang.Root, spec.Erlang.Release = rebar3Release(t, greetings), "erlmcp"
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chmod", "-R", "a+rX", filepath.Dir(spec.Erlang.Root)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	superviseApart(t, spec, dir, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	})
	if s, err := Connect(dir).Status(t.Context()); err != nil || !seesAll(s) {
		t.Errorf("status is %+v, %v", s, err)
	}
}
