package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/cluster/internal/process"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/nearest"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Command is how nodes of the runtime "command" are started: any program that serves the node's ports in
// the foreground. {name} {host} {tcp} {http} {sse} in Argv and Env are replaced by the node's; the
// environment also has them as ERLMCP_NODE, ERLMCP_HOST, ERLMCP_TCP_PORT, ERLMCP_HTTP_PORT and
// ERLMCP_SSE_PORT.
type Command struct {
	Argv []string `yaml:"argv" json:"argv"` // program and arguments
	Env  []string `yaml:"env" json:"env"`   // NAME=value
	Dir  string   `yaml:"dir" json:"dir"`   // working directory; a relative program is found from here

	Ready     string `yaml:"ready" json:"ready"`           // how a node shows that it serves, see ReadyAuto …
	ReadyPath string `yaml:"ready_path" json:"ready_path"` // of ReadyHTTP
}

// Values of Command.Ready.
const (
	ReadyAuto = "auto" // an MCP reply on the first port (tcp, http, sse), a connection on the others
	ReadyMCP  = "mcp"  // an MCP reply on every port, over HTTP at the node's path
	ReadyTCP  = "tcp"  // a connection on every port
	ReadyHTTP = "http" // a 2xx reply to GET ReadyPath on the HTTP port
	ReadyNone = "none" // it runs
)

var readyKinds = []string{ReadyAuto, ReadyMCP, ReadyTCP, ReadyHTTP, ReadyNone}

func (c Command) validate(nodes []topology.Node, add func(field, format string, args ...any)) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		add("command.argv", "the runtime %q needs a program to execute", RuntimeCommand)
	}
	for _, arg := range c.Argv {
		validatePlaceholders("command.argv", arg, add)
	}
	for _, entry := range c.Env {
		name, _, ok := strings.Cut(entry, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \x00") {
			add("command.env", "%q is not NAME=value", entry)
		}
		validatePlaceholders("command.env", entry, add)
	}
	c.validateReady(nodes, add)
}

func (c Command) validateReady(nodes []topology.Node, add func(field, format string, args ...any)) {
	port := func(topology.Node) int { return 1 }
	switch c.Ready {
	case ReadyAuto, ReadyMCP, ReadyTCP, ReadyNone:
	case ReadyHTTP:
		port = func(n topology.Node) int { return n.HTTP }
		if !strings.HasPrefix(c.ReadyPath, "/") || strings.ContainsAny(c.ReadyPath, " \r\n\x00") {
			add("command.ready_path", "%q is no path of a URL", c.ReadyPath)
		}
	default:
		add("command.ready", "%s", nearest.OneOf(c.Ready, readyKinds))
	}
	for _, n := range nodes {
		if port(n) == 0 {
			add("command.ready", "%q asks for a port that %s does not have", c.Ready, n.Name)
		}
	}
}

func validatePlaceholders(field, text string, add func(field, format string, args ...any)) {
	for _, name := range placeholders(text) {
		switch name {
		case "name", "host", "tcp", "http", "sse":
		default:
			add(field, "unknown placeholder {%s} (there are {name} {host} {tcp} {http} {sse})", name)
		}
	}
}

// placeholders lists what stands in braces in arg, if it is one lower-case word.
func placeholders(arg string) []string {
	var names []string
	for _, part := range strings.Split(arg, "{")[1:] {
		name, _, closed := strings.Cut(part, "}")
		if closed && name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") == "" {
			names = append(names, name)
		}
	}
	return names
}

// command is the Runtime of a Command.
type command struct{ Command }

// newCommand finds the programs of all nodes.
func newCommand(c Command, nodes []topology.Node) (*command, error) {
	if info, err := os.Stat(c.Dir); c.Dir != "" && (err != nil || !info.IsDir()) {
		return nil, advice.With(fmt.Errorf("cluster.command.dir: there is no directory %s", c.Dir),
			"make it or change cluster.command.dir")
	}
	found := &command{c}
	for _, n := range nodes {
		if _, err := found.Program(n); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Program implements Runtime.
func (c *command) Program(n topology.Node) (process.Program, error) {
	replace := strings.NewReplacer("{name}", n.Name, "{host}", n.Host,
		"{tcp}", strconv.Itoa(n.TCP), "{http}", strconv.Itoa(n.HTTP), "{sse}", strconv.Itoa(n.SSE))
	p := process.Program{Dir: c.Dir, Env: nodeEnv(n)}
	for _, arg := range c.Argv {
		p.Args = append(p.Args, replace.Replace(arg))
	}
	for _, entry := range c.Env {
		p.Env = append(p.Env, replace.Replace(entry))
	}
	var err error
	p.Path, err = c.lookup(p.Args[0], p.Env)
	return p, err
}

// lookup returns the path of a program: a name is looked up in the PATH that env has, or else this process; a
// path is relative to Dir.
func (c *command) lookup(program string, env []string) (string, error) {
	path := program
	var found string
	var err error
	switch where, given := pathOf(env); {
	case strings.ContainsRune(program, '/'):
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.Dir, path)
		}
		found, err = exec.LookPath(path)
	case given:
		found, err = c.lookupIn(where, program)
	default:
		found, err = exec.LookPath(path)
	}
	if err == nil {
		err = interpreted(found)
	}
	if err == nil {
		return found, nil
	}
	why := "is not there"
	var script *interpreterError
	switch {
	case errors.As(err, &script):
		why = script.Error()
	case errors.Is(err, exec.ErrNotFound):
		why = "is not in PATH"
	case errors.Is(err, os.ErrPermission):
		why = "is not executable"
	}
	return "", advice.With(fmt.Errorf("cluster.command.argv: the program %s %s", path, why),
		"build or install it, or change cluster.command.argv")
}

// pathOf is the PATH that an environment sets; the last one counts.
func pathOf(env []string) (path string, given bool) {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path, given = value, true
		}
	}
	return path, given
}

// lookupIn looks a name up in the directories of a PATH; those that are relative, or empty, begin at Dir.
func (c *command) lookupIn(path, program string) (string, error) {
	result := exec.ErrNotFound
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(c.Dir, dir)
		}
		found, err := exec.LookPath(filepath.Join(dir, program))
		if err == nil {
			return filepath.Abs(found)
		}
		if errors.Is(err, os.ErrPermission) {
			result = err
		}
	}
	return "", result
}

// Ready implements Runtime.
func (c *command) Ready(ctx context.Context, n topology.Node) error {
	switch c.Command.Ready {
	case ReadyNone:
		return nil
	case ReadyMCP:
		return probePorts(ctx, n, "mcp", "mcp")
	case ReadyTCP:
		return probePorts(ctx, n, "tcp", "tcp")
	case ReadyHTTP:
		return probeHTTP(ctx, n.Scheme()+"://"+n.HTTPAddress()+c.ReadyPath)
	}
	return probeNode(ctx, n)
}

// probeHTTP asks for a page; any 2xx reply will do.
func probeHTTP(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheck.DefaultTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // this side has started it
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	reply, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	reply.Body.Close()
	if reply.StatusCode/100 != 2 {
		return fmt.Errorf("http: GET %s answers %s", url, reply.Status)
	}
	return nil
}
