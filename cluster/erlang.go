package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/cluster/internal/process"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/erldist"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Erlang is how nodes of the runtime "erlang" are started: as a release of rebar3, or with erl on the
// compiled project. Nodes are named NAME@ADDRESS.
type Erlang struct {
	Root        string   `yaml:"root" json:"root"`               // directory of the rebar3 project, or of an unpacked release
	Release     string   `yaml:"release" json:"release"`         // name of the release; empty starts erl on the compiled project
	Application string   `yaml:"application" json:"application"` // gets the ports in its environment; erl starts it
	Address     string   `yaml:"address" json:"address"`         // IPv4 address that the distribution and epmd listen on
	CookieFile  string   `yaml:"cookie_file" json:"cookie_file"` // empty: one is made in the state directory
	Args        []string `yaml:"args" json:"args"`               // added to the command line
}

var erlangName = regexp.MustCompile(`^[a-z][A-Za-z0-9_]*$`)

// isErlangName reports whether a release or an application may have that name. The length is not in the pattern: compiled,
// it would take a hundred times the memory.
func isErlangName(s string) bool { return len(s) <= 64 && erlangName.MatchString(s) }

// managedFlags are those of erl that this program sets by itself, and why nobody else may.
var managedFlags = map[string]string{
	"-name":      "nodes are named by the configuration",
	"-sname":     "nodes are named by the configuration",
	"-setcookie": "a cookie on a command line can be read by everybody; use cluster.erlang.cookie_file",
	"-heart":     "it would start nodes behind the supervisor's back",
	"-detached":  "nodes run in the foreground",
	"-args_file": "what it holds would not be checked",
}

// managed reports why a flag is refused, "" if it is not.
func managed(flag string) string {
	if why, ok := managedFlags[flag]; ok {
		return why
	}
	return managedFlags["-"+strings.TrimLeft(flag, "-")] // --heart is -heart
}

func (e Erlang) validate(add func(field, format string, args ...any)) {
	if e.Release != "" && !isErlangName(e.Release) {
		add("erlang.release", "%q is no name of a release", e.Release)
	}
	if !isErlangName(e.Application) {
		add("erlang.application", "%q is no name of an application", e.Application)
	}
	if at, err := netip.ParseAddr(e.Address); err != nil || !at.Is4() || at.IsUnspecified() {
		add("erlang.address", "%q is not the IPv4 address of an interface", e.Address)
	}
	flags, _ := beforeExtra(e.Args)
	for _, arg := range flags {
		if why := managed(arg); why != "" {
			add("erlang.args", "%s is not allowed: %s", arg, why)
		}
	}
}

// erlang is the Runtime of an Erlang.
type erlang struct {
	Erlang
	build  erlangBuild
	dir    string // for what belongs to the nodes; also their home
	cookie string // "" before the first Program
	found  erldist.Found
}

// newErlang verifies the build. It writes nothing yet.
func newErlang(e Erlang, stateDir string) (*erlang, error) {
	for _, name := range []string{"ERL_FLAGS", "ERL_AFLAGS", "ERL_ZFLAGS"} {
		flags, _ := beforeExtra(strings.Fields(os.Getenv(name)))
		for _, flag := range flags {
			if why := managed(flag); why != "" {
				return nil, advice.With(fmt.Errorf("the environment variable %s has the flag %s: %s", name, flag, why),
					"unset "+name)
			}
		}
	}
	build, err := findBuild(e)
	if err != nil {
		return nil, err
	}
	if build.vmArgs != "" {
		if _, err := readVMArgs(build.vmArgs); err != nil {
			return nil, err
		}
	}
	if e.CookieFile != "" {
		if _, err := readCookie(e.CookieFile); err != nil {
			return nil, err
		}
	}
	return &erlang{Erlang: e, build: build, dir: filepath.Join(stateDir, "erlang")}, nil
}

// Program implements Runtime.
func (e *erlang) Program(n topology.Node) (process.Program, error) {
	if e.cookie == "" {
		var err error
		if e.cookie, err = placeCookie(e.dir, e.CookieFile); err != nil {
			return process.Program{}, err
		}
	}
	p := process.Program{
		Dir: e.build.dir,
		Env: append(nodeEnv(n),
			"HOME="+e.dir, // where the cookie is: the only place that neither ps nor /proc shows
			"ERL_EPMD_ADDRESS="+e.Address,
			"ERL_CRASH_DUMP="+filepath.Join(e.dir, n.Name+".crash_dump"),
			"ERL_CRASH_DUMP_BYTES=67108864",
		),
		// Of one node, or of heart, and not of all nodes.
		Unset: []string{"HEART_COMMAND", "ERL_DIST_PORT", "RELX_COOKIE", "RELX_MULTI_NODE"},
	}
	if e.build.script != "" {
		if err := os.MkdirAll(e.home(n), 0o700); err != nil {
			return process.Program{}, fmt.Errorf("make the directory of %s: %w", n.Name, err)
		}
		args, err := e.writeVMArgs(n)
		if err != nil {
			return process.Program{}, err
		}
		p.Path = e.build.script
		p.Args = append([]string{p.Path, "foreground"}, e.Args...)
		// The script writes what it makes of templates, sys.config.src say, beside them, where all nodes have the same
		// and another user may not write, unless it is told where else.
		p.Env = append(p.Env, "VMARGS_PATH="+args, "RELX_OUT_FILE_PATH="+e.home(n))
		return p, nil
	}
	p.Path = e.build.erl
	p.Args = []string{"erl", "-noinput", "+Bd"}
	for _, flag := range e.flags(n) {
		p.Args = append(p.Args, flag...)
	}
	for _, ebin := range e.build.ebins {
		p.Args = append(p.Args, "-pa", ebin)
	}
	flags, extra := beforeExtra(e.Args)
	p.Args = append(p.Args, flags...)
	// The last lines of a node tell why it did not start: the logger is done before, whoever still reports the same.
	p.Args = append(p.Args, "-eval", fmt.Sprintf(
		`case application:ensure_all_started(%s, permanent) of {ok, _} -> ok; `+
			`{error, Reason} -> catch logger:remove_handler(default), io:format(standard_error, "cannot start: ~p~n", [Reason]), halt(1) end`, e.Application))
	p.Args = append(p.Args, extra...)
	return p, nil
}

// home is where files of that node alone are.
func (e *erlang) home(n topology.Node) string { return filepath.Join(e.dir, n.Name) }

// flags are what every node is told, a flag with its values each.
func (e *erlang) flags(n topology.Node) [][]string {
	return [][]string{
		{"-name", e.Peer(n)},
		{"-kernel", "inet_dist_use_interface", "{" + strings.ReplaceAll(e.Address, ".", ",") + "}"},
		{
			"-" + e.Application, "tcp_port", strconv.Itoa(n.TCP),
			"http_port", strconv.Itoa(n.HTTP), "sse_port", strconv.Itoa(n.SSE),
		},
	}
}

// Ready implements Runtime: the node serves, and other nodes can reach it.
func (e *erlang) Ready(ctx context.Context, n topology.Node) error {
	if err := probeNode(ctx, n); err != nil {
		return err
	}
	if _, err := e.Sees(ctx, n); err != nil {
		return fmt.Errorf("distribution: %w", err)
	}
	return nil
}

// Peer implements mesh.
func (e *erlang) Peer(n topology.Node) string { return n.Name + "@" + e.Address }

// Sees implements mesh.
func (e *erlang) Sees(ctx context.Context, n topology.Node) ([]string, error) {
	names, err := e.ask(n).Sees(ctx)
	slices.Sort(names)
	return names, err
}

// Introduce implements mesh.
func (e *erlang) Introduce(ctx context.Context, n topology.Node, peer string) error {
	connected, err := e.ask(n).Connect(ctx, peer)
	if err == nil && !connected {
		err = fmt.Errorf("%s cannot connect to %s", n.Name, peer)
	}
	return err
}

// ask is the node as this side reaches it.
func (e *erlang) ask(n topology.Node) erldist.Node {
	return erldist.Node{Name: e.Peer(n), Cookie: e.cookie, As: "erlmcp_supervisor@" + e.Address, Found: &e.found}
}
