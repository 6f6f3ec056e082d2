package cluster

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster/nodelog"
)

// shellSpec is a cluster of one node that is a script; its directory has these files too.
func shellSpec(t *testing.T, script string, more map[string]string) (Spec, string) {
	t.Helper()
	dir := t.TempDir()
	files(t, dir, map[string]string{"node.sh": "#!/bin/sh\n" + script})
	files(t, dir, more)
	if err := os.Chmod(filepath.Join(dir, "node.sh"), 0o700); err != nil {
		t.Fatal(err)
	}
	spec := testSpec(t, 1)
	spec.Runtime = RuntimeCommand
	spec.Command = Command{Argv: []string{"./node.sh"}, Dir: dir, Ready: ReadyNone}
	return spec, dir
}

// polite says goodbye when it is asked to end, which takes a moment.
const polite = "trap 'sleep 0.3; echo goodbye > said; exit' TERM\necho up > up\nwhile :; do sleep 0.05; done\n"

func exists(dir, name string) func() bool {
	return func() bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
}

// A server that a wrapper has started is asked to end as well, and may take as long as its wrapper.
func TestServersOfWrappersEndInPeace(t *testing.T) {
	wrappers := map[string]string{
		"that ends at once":      "sh server.sh\ntrue\n",
		"that defers the signal": "trap 'echo wrapper' TERM\nsh server.sh\ntrue\n",
		"and of its child":       "sh -c 'sh server.sh; true'\ntrue\n",
	}
	if runtime.GOOS == "linux" {
		wrappers["in another group"] = "setsid sh server.sh &\nwait\n"
		wrappers["whose parent has ended"] = "(setsid sh server.sh &)\nexec sleep 1000\n"
	}
	for name, wrapper := range wrappers {
		t.Run(name, func(t *testing.T) {
			spec, dir := shellSpec(t, wrapper, map[string]string{"server.sh": polite})
			c := supervise(t, spec, SupervisorOptions{})
			eventually(t, "the server", exists(dir, "up"))
			begin := time.Now()
			if err := c.StopNodes(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took >= quick.stopGrace {
				t.Errorf("it took %v", took)
			}
			if !exists(dir, "said")() {
				t.Error("the server did not say goodbye")
			}
			if n := node(t, c, "erlmcp1"); n.State != StateStopped || n.Reason != "" {
				t.Errorf("node is %+v", n)
			}
		})
	}
}

// One that does not hear is killed when the time is over, not before.
func TestDeafServerOfAWrapper(t *testing.T) {
	spec, dir := shellSpec(t, "sh server.sh\ntrue\n", map[string]string{"server.sh": "trap '' TERM\necho $$ > up\nwhile :; do sleep 0.05; done\n"})
	p := quick
	p.stopGrace = 400 * time.Millisecond
	c := supervise(t, spec, SupervisorOptions{pace: p})
	eventually(t, "the server", exists(dir, "up"))
	begin := time.Now()
	if err := c.StopNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < p.stopGrace {
		t.Errorf("killed after %v", took)
	}
	if n := node(t, c, "erlmcp1"); n.Reason != "did not end within 400ms and was killed" {
		t.Errorf("node is %+v", n)
	}
}

// Nodes stop together: however many they are, they take as long as one.
func TestNodesStopTogether(t *testing.T) {
	const n = 9
	spec := testSpec(t, n)
	spec.Runtime = RuntimeCommand
	dir := t.TempDir()
	// Each ends when all have been asked to.
	files(t, dir, map[string]string{"node.sh": "trap 'touch $ERLMCP_NODE.asked; while [ $(ls *.asked | wc -l) -lt 9 ]; do sleep 0.02; done; exit' TERM\n" +
		"touch $ERLMCP_NODE.up\nwhile :; do sleep 0.05; done\n"})
	spec.Command = Command{Argv: []string{"sh", "node.sh"}, Dir: dir, Ready: ReadyNone}
	p := quick
	p.stopGrace = time.Minute
	for _, stop := range []string{"nodes", "cluster"} {
		t.Run(stop, func(t *testing.T) {
			for _, name := range []string{"asked", "up"} {
				old, _ := filepath.Glob(filepath.Join(dir, "*."+name))
				for _, path := range old {
					_ = os.Remove(path)
				}
			}
			state := shortDir(t)
			c := supervise(t, spec, SupervisorOptions{StateDir: state, pace: p})
			for _, node := range spec.Nodes {
				eventually(t, node.Name, exists(dir, node.Name+".up"))
			}
			var err error
			if stop == "nodes" {
				err = c.StopNodes(t.Context(), nil)
			} else {
				err = c.Shutdown(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, node := range spec.Nodes {
				text, err := os.ReadFile(nodelog.Path(LogDir(state, spec), node.Name))
				if err != nil || strings.Contains(string(text), "was killed") {
					t.Errorf("%s was killed, or %v", node.Name, err)
				}
				if !exists(dir, node.Name+".asked")() {
					t.Errorf("%s was not asked to end", node.Name)
				}
			}
		})
	}
}
