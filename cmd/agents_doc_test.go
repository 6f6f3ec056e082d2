package cmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// takes requires that there is a command with these arguments and flags.
func takes(t *testing.T, args []string) {
	t.Helper()
	c, rest, err := tree().Find(args)
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err != nil || !c.HasParent() {
		t.Errorf("%q: %v", args, err)
	}
}

// The unit of an agent is one, and what it starts is there.
func TestUnitOfAgents(t *testing.T) {
	const name = "../docs/agents/erlmcp-loadtest-agent.service"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(text), "\nExecStart=/usr/local/bin/erlmcp ")
	command, _, _ = strings.Cut(command, "\n")
	takes(t, strings.Fields(command))
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, filepath.Base(name))
	if err := os.WriteFile(unit, bytes.Replace(text, []byte("/usr/local/bin/erlmcp"), []byte(self), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// The manifest has a load test and as many agents as that waits for, which both find the secret.
func TestManifestOfAgents(t *testing.T) {
	file, err := os.Open("../docs/agents/kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	type object struct {
		Kind     string
		Metadata struct{ Name string }
		Spec     struct {
			CompletionMode           string `yaml:"completionMode"`
			Completions, Parallelism int
			Ports                    []struct{ Port int }
			Selector                 map[string]string
			Template                 struct {
				Spec struct {
					Containers []struct{ Args []string }
					Volumes    []map[string]any
				}
			}
		}
	}
	objects := make(map[string]object)
	for in := yaml.NewDecoder(file); ; {
		var o object
		err := in.Decode(&o)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		objects[o.Kind+" "+o.Metadata.Name] = o
	}
	service, coordinator, agents := objects["Service loadtest"], objects["Job loadtest"], objects["Job loadtest-agents"]
	if len(objects) != 3 || len(service.Spec.Ports) != 1 || service.Spec.Selector["job-name"] != "loadtest" {
		t.Fatalf("%+v", objects)
	}
	for _, job := range []object{coordinator, agents} {
		if len(job.Spec.Template.Spec.Containers) != 1 || len(job.Spec.Template.Spec.Volumes) != 2 {
			t.Fatalf("%+v", job)
		}
		takes(t, job.Spec.Template.Spec.Containers[0].Args)
	}
	waits := strings.Join(coordinator.Spec.Template.Spec.Containers[0].Args, " ")
	joins := strings.Join(agents.Spec.Template.Spec.Containers[0].Args, " ")
	if agents.Spec.CompletionMode != "Indexed" || agents.Spec.Completions != agents.Spec.Parallelism || agents.Spec.Completions != 5 ||
		!strings.Contains(waits, "--remote-agents 5 --listen 0.0.0.0:4222 ") || !strings.Contains(joins, "--join tls://loadtest:4222 ") || service.Spec.Ports[0].Port != 4222 {
		t.Errorf("%q and %q", waits, joins)
	}
}
