package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/erlmcp/erlmcp/internal/freeport"
	"github.com/erlmcp/erlmcp/proxy"
)

// system is a cluster with its balancer on defaults, but for addresses and a certificate.
type system struct {
	dir string
	// program runs as daemons, asker is the same file for commands: so the daemons can be told apart.
	program, asker string

	TCP, HTTP, HTTPS, Admin, Health string
	Nodes                           []nodePorts
}

type nodePorts struct {
	Name           string
	TCP, HTTP, SSE int // ports
}

const nodes = 4

var configuration = template.Must(template.New("").Parse(`cluster:
  nodes:
{{- range .Nodes}}
    - {name: {{.Name}}, host: 127.0.0.1, tcp: {{.TCP}}, http: {{.HTTP}}, sse: {{.SSE}}}
{{- end}}
lb:
  listen: {tcp: "{{.TCP}}", http: "{{.HTTP}}", https: "{{.HTTPS}}", admin: "{{.Admin}}", health: "{{.Health}}"}
  tls: {cert: lb.crt, key: lb.key}
`))

// start brings a system up in a directory of its own and waits until it is healthy.
func start(ctx context.Context, dir, erlmcp string) (*system, error) {
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
		return nil, err
	}
	ports, err := freeport.Find(5 + 3*nodes)
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	s := &system{
		dir: dir, program: filepath.Join(dir, "bin/erlmcp"), asker: filepath.Join(dir, "bin/ask"),
		TCP: at(0), HTTP: at(1), HTTPS: at(2), Admin: at(3), Health: at(4),
	}
	for i := range nodes {
		p := ports[5+3*i:]
		s.Nodes = append(s.Nodes, nodePorts{fmt.Sprintf("erlmcp%d", i+1), p[0], p[1], p[2]})
	}
	for _, name := range []string{s.program, s.asker} {
		if err := copyFile(name, erlmcp); err != nil {
			return nil, err
		}
	}
	var text strings.Builder
	if err := configuration.Execute(&text, s); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "erlmcp.yaml"), []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	if out, err := s.command(ctx, s.asker, "lb", "cert", "--self-signed").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("erlmcp lb cert: %w\n%s", err, out)
	}
	for _, args := range [][]string{{"up"}, {"health", "--wait", "--timeout", "30s"}} {
		if out, err := s.command(ctx, s.program, args...).CombinedOutput(); err != nil {
			_ = s.down()
			return nil, fmt.Errorf("erlmcp %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return s, nil
}

// command is a command of the program, in the place of the system.
func (s *system) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, append(args, "--state-dir", filepath.Join(s.dir, "state"))...)
	cmd.Dir = s.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "ERLMCP_") })
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+s.dir)
	cmd.WaitDelay = time.Second
	return cmd
}

// down stops everything, also after an interrupt, and says what is left.
func (s *system) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := s.command(ctx, s.asker, "down").CombinedOutput(); err != nil {
		return fmt.Errorf("erlmcp down: %w\n%s", err, out)
	}
	if left := s.processes(); len(left) > 0 {
		return fmt.Errorf("erlmcp down has left %d processes", len(left))
	}
	return nil
}

// sessions is what the nodes hold over HTTP.
func (s *system) sessions(ctx context.Context) (n int, err error) {
	for _, node := range s.Nodes {
		var health struct {
			Sessions int `json:"http_sessions"`
		}
		if err := ask(ctx, fmt.Sprintf("127.0.0.1:%d", node.HTTP), "/health", &health); err != nil {
			return 0, err
		}
		n += health.Sessions
	}
	return n, nil
}

func (s *system) stats(ctx context.Context) (all proxy.Stats, err error) {
	err = ask(ctx, s.Admin, "/stats.json", &all)
	return all, err
}

// stateChanges is how often nodes have come and gone.
func stateChanges(s *proxy.Stats) (n uint64) {
	for i := range s.Nodes {
		n += s.Nodes[i].StateChanges
	}
	return n
}

var asking = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask gets JSON on a connection of its own, as monitors do.
func ask(ctx context.Context, address, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := asking.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s", address, path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o700)
}
