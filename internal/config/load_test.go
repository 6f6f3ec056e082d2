package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
)

// badFiles has, for every rule a file of testdata that breaks it, and exactly what is said about it. FILE
// stands for the name of the file.
var badFiles = map[string]string{
	"alias_to_wrong_kind.yaml":   `FILE:2:11: lb.balance: is a mapping, but must be a text`,
	"blank.yaml":                 `FILE: the file is empty`,
	"boolean_is_yes.yaml":        `FILE:2:26: lb.proxy_protocol.send: "yes" is not true or false`,
	"colliding_everywhere.yaml":  `FILE:3:10: lb.listen.tcp: 0.0.0.0:9203 is also cluster.nodes[2].sse, port 9203 of erlmcp3`,
	"colliding_ports.yaml":       `FILE:3:51: lb.listen.admin: 127.0.0.1:8404 is also cluster.nodes[0].http, port 8404 of a`,
	"duplicate_key.yaml":         `FILE:5:3: lb.balance: is already set in line 2`,
	"duplicate_section.yaml":     `FILE:3:1: lb: is already set in line 1`,
	"duration_without_unit.yaml": `FILE:3:11: lb.timeouts.idle: "300" is not a time span like 3s, 250ms or 5m`,
	"empty.yaml":                 `FILE: the file is empty`,
	"embedded_path.yaml":         `FILE:3:35: cluster.nodes[0].path: embedded nodes serve MCP at /mcp, not at /api/mcp: leave the path out`,
	"embedded_service.yaml":      `FILE:3:23: cluster.nodes[0].host: _mcp._tcp.example.com is a service in DNS, but the nodes of the cluster are started here: write an address of this machine, or put the service into lb.nodes`,
	"embedded_tls.yaml":          `FILE:3:22: cluster.nodes[0].url: embedded nodes do not speak TLS: write http: 9101 instead of it, and TLS for clients into lb.tls`,
	"embedded_url.yaml":          `FILE:3:22: cluster.nodes[0].url: embedded nodes serve MCP at /mcp, not at /other: leave the path out`,
	"float_is_infinite.yaml":     `FILE:2:22: loadtest.tolerance_percent: ".inf" is not a number`,
	"invalid_default.yaml":       `lb.checks.fast_interval: must not be longer than checks.interval (100ms), is 250ms`,
	"invalid_element.yaml":       `FILE:5:9: lb.limits.exempt[1]: "10.0.0.300" is neither an address nor a prefix`,
	"invalid_section.yaml":       `FILE:4:11: lb.tls: cert and key must be set together`,
	"invalid_value.yaml":         `FILE:5:12: lb.limits.ban.for: must be from 1s to 24h0m0s, is 1ms`,
	"key_is_list.yaml":           `FILE:2:3: lb: a key must be a word, but is a list`,
	"key_of_node.yaml":           `FILE:3:34: cluster.nodes[0].tpc: unknown key; did you mean tcp?`,
	"key_of_other_section.yaml":  `FILE:2:3: cluster.ramp_rate: unknown key; did you mean loadtest.ramp_rate?`,
	"list_is_scalar.yaml":        `FILE:3:13: lb.limits.exempt: is "10.0.0.0/8", but must be a list`,
	"many_errors.yaml": `FILE:2:3: lb.blance: unknown key; did you mean balance?
FILE:3:12: lb.workers: "x" is not a whole number
FILE:5:16: cluster.logs.keep: "true" is not a whole number`,
	"merge_key.yaml":           `FILE:2:7: lb.<<: is "usual", but must be a mapping, or a list of mappings, to take keys from`,
	"number_is_fraction.yaml":  `FILE:2:12: lb.workers: "2.5" is not a whole number`,
	"number_is_quoted.yaml":    `FILE:2:12: lb.workers: "2" is not a whole number`,
	"number_is_text.yaml":      `FILE:2:12: lb.workers: "many" is not a whole number`,
	"number_is_too_large.yaml": `FILE:2:12: lb.workers: 99999999999999999999 is too large`,
	"scalar_is_empty.yaml": `FILE:2:11: lb.balance: is empty, but must be a text
FILE:3:11: lb.workers: is empty, but must be a whole number`,
	"scalar_is_list.yaml":         `FILE:3:10: lb.listen.tcp: is a list, but must be a text`,
	"scalar_is_mapping.yaml":      `FILE:2:13: health.interval: is a mapping, but must be a time span like 3s, 250ms or 5m`,
	"section_is_list.yaml":        `FILE:2:3: lb: is a list, but must hold keys: listen, admin, tls, nodes, nodes_from, node_tls, max_connections, node_max_connections, workers, balance, sticky, http, trusted_proxies, limits, source_table, resolve, checks, slow_start, timeouts, max_message, source, proxy_protocol, access_log`,
	"section_is_scalar.yaml":      `FILE:2:11: lb.sticky: is "source", but must hold keys: tcp, http, cookie, mcp_session, ttl, key_file`,
	"size_with_unknown_unit.yaml": `FILE:2:20: cluster.logs.max_size: "64Mbit" is not a size: unknown unit "Mbit" (k, KiB, kB, m, MiB, MB, g, GiB, GB, t, TiB, TB)`,
	"syntax.yaml":                 `FILE:1: did not find expected ',' or '}'`,
	"tab.yaml":                    `FILE:2: found character that cannot start any token`,
	"two_documents.yaml":          `FILE:2: a second document begins here, but only one is read`,
	"unknown_anchor.yaml":         `FILE: unknown anchor 'usual' referenced`,
	"unknown_key.yaml":            `FILE:3:5: lb.limits.conections_per_second: unknown key; did you mean connections_per_second?`,
	"unknown_section.yaml":        `FILE:2:1: proxy: unknown key; known are cluster, lb, health, loadtest`,
	"upper_case_key.yaml":         `FILE:1:1: LB: unknown key; did you mean lb?`,
	"value_is_misspelt.yaml":      `FILE:2:12: lb.balance: must be one of leastconn, roundrobin, source, random2, is "rondrobin"; did you mean roundrobin?`,
	"whole_is_scalar.yaml":        `FILE:1:1: is "lb.balance=source", but must hold keys: cluster, lb, health, loadtest`,
}

func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(badFiles) {
		t.Errorf("%d files, %d expectations", len(files), len(badFiles))
	}
	for name, want := range badFiles {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name)
			_, err := Load(Options{File: file})
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), file, "FILE"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// sandbox makes an empty working directory with an empty user configuration, and returns the
// environment for Load.
func sandbox(t *testing.T) (env []string, userFile string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	userFile = filepath.Join(dir, "config", "erlmcp", FileName)
	if err := os.MkdirAll(filepath.Dir(userFile), 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{"XDG_CONFIG_HOME=" + filepath.Join(dir, "config")}, userFile
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, o Options) *Config {
	t.Helper()
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPrecedence(t *testing.T) {
	env, user := sandbox(t)
	flag := Flag{Path: "lb.workers", Value: "6", Name: "--workers"}
	workers := func(o Options, want int, origin string) {
		t.Helper()
		o.Env = append(o.Env, env...)
		c := load(t, o)
		if c.LB.Workers != want || c.Origin("lb.workers").String() != origin {
			t.Errorf("%d from %s, want %d from %s", c.LB.Workers, c.Origin("lb.workers"), want, origin)
		}
	}
	workers(Options{}, 0, "default")
	write(t, user, "lb: {workers: 2, balance: random2}")
	workers(Options{}, 2, user+":1:15")
	write(t, FileName, "lb: {workers: 3}")
	workers(Options{}, 3, "erlmcp.yaml:1:15")
	write(t, "other.yaml", "lb: {workers: 4}")
	workers(Options{File: "other.yaml"}, 4, "other.yaml:1:15")
	workers(Options{Env: []string{"ERLMCP_CONFIG=other.yaml"}}, 4, "other.yaml:1:15")
	workers(Options{Env: []string{"ERLMCP_LB_WORKERS=5"}}, 5, "ERLMCP_LB_WORKERS")
	workers(Options{Env: []string{"ERLMCP_LB_WORKERS=5"}, Flags: []Flag{flag}}, 6, "--workers")

	if c := load(t, Options{Env: env}); c.LB.Balance != "random2" || c.File == "" {
		t.Errorf("balance %q of the user's file, project file %q", c.LB.Balance, c.File)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	env, _ := sandbox(t)
	for name, want := range map[string]string{
		"missing.yaml": "missing.yaml: no such file or directory",
		"config":       "config: is a directory",
	} {
		if _, err := Load(Options{File: name, Env: env}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	write(t, "large.yaml", "lb: {balance: source}\n"+strings.Repeat("#", maxFile))
	want := "large.yaml: the file is larger than 1048576 bytes"
	if _, err := Load(Options{File: "large.yaml", Env: env}); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestOnlyComments(t *testing.T) {
	env, _ := sandbox(t)
	write(t, FileName, "# lb: {balance: source}\n")
	if c := load(t, Options{Env: env}); c.LB.Balance != "leastconn" || c.File == "" {
		t.Errorf("balance %q from file %q", c.LB.Balance, c.File)
	}
}

func TestSectionWithoutKeys(t *testing.T) {
	env, _ := sandbox(t)
	write(t, FileName, "lb:\n  # balance: source\nhealth:\n")
	if c := load(t, Options{Env: env}); c.LB.Balance != "leastconn" {
		t.Errorf("balance %q", c.LB.Balance)
	}
}

func TestListReplacesList(t *testing.T) {
	env, user := sandbox(t)
	write(t, user, "lb: {limits: {exempt: [10.0.0.0/8, '::1']}}")
	write(t, FileName, "cluster:\n  nodes:\n  - {name: a, host: '::1', tcp: 1}\nlb:\n  limits:\n    exempt: &e [127.0.0.1]\n  proxy_protocol: {accept_from: *e}\n")
	c := load(t, Options{Env: env})
	if !reflect.DeepEqual(c.LB.Limits.Exempt, []string{"127.0.0.1"}) || !reflect.DeepEqual(c.LB.ProxyProtocol.AcceptFrom, []string{"127.0.0.1"}) {
		t.Errorf("exempt %v, accept_from %v", c.LB.Limits.Exempt, c.LB.ProxyProtocol.AcceptFrom)
	}
	if names := c.NodeNames(); !reflect.DeepEqual(names, []string{"a"}) || c.Cluster.Nodes[0].HTTP != 0 {
		t.Errorf("nodes %+v", c.Cluster.Nodes)
	}
}

func TestSectionsTakeFromEachOther(t *testing.T) {
	env, _ := sandbox(t)
	write(t, FileName, "lb: {listen: {tcp: '[::]:8100'}, max_connections: 3000}\ncluster: {logs: {dir: logs}}\n")
	c := load(t, Options{Env: env})
	if !reflect.DeepEqual(c.LB.Nodes, c.Cluster.Nodes) || len(c.LB.Nodes) != 4 {
		t.Errorf("nodes of the balancer: %v", c.LB.Nodes)
	}
	if c.Cluster.NodeMaxConnections != 1050 {
		t.Errorf("node_max_connections %d", c.Cluster.NodeMaxConnections)
	}
	if c.Loadtest.Target != "127.0.0.1:8100" || c.Origin("loadtest.target").String() != "lb.listen.tcp" {
		t.Errorf("target %s from %s", c.Loadtest.Target, c.Origin("loadtest.target"))
	}
	if c.LB.Checks.GiveUp != c.LB.Checks.Timeout || c.Origin("lb.checks.give_up").String() != "cluster.runtime" {
		t.Errorf("give_up %v from %s for embedded nodes", c.LB.Checks.GiveUp, c.Origin("lb.checks.give_up"))
	}
	if !filepath.IsAbs(c.Cluster.Logs.Dir) || filepath.Base(c.Cluster.Logs.Dir) != "logs" {
		t.Errorf("logs in %s", c.Cluster.Logs.Dir)
	}
	if doubts := c.Doubts(); len(doubts) > 0 {
		t.Error(doubts)
	}
	c = load(t, Options{Env: append(env, "ERLMCP_CLUSTER_NODE_MAX_CONNECTIONS=7", "ERLMCP_LOADTEST_TARGET=10.0.0.1:1")})
	if c.Loadtest.Target != "10.0.0.1:1" || len(c.Doubts()) != 1 {
		t.Errorf("target %s, doubts %v", c.Loadtest.Target, c.Doubts())
	}
	for _, others := range []string{"ERLMCP_CLUSTER_RUNTIME=command", "ERLMCP_LB_NODES=[{name: a, host: 127.0.0.1, tcp: 1}]", "ERLMCP_LB_CHECKS_GIVE_UP=10m"} {
		c := load(t, Options{Env: append(env, others, "ERLMCP_CLUSTER_COMMAND_ARGV=[server]")})
		if up := c.LB.Checks.GiveUp; up != 0 && up != proxy.DefaultGiveUp {
			t.Errorf("%s: give_up %v", others, up)
		}
	}
	c = load(t, Options{Env: append(env, "ERLMCP_LB_LISTEN_HTTP=:8081", "ERLMCP_LB_NODES=[{name: a, host: 127.0.0.1, tcp: 1}]")})
	if doubts := c.Doubts(); len(doubts) != 1 || !strings.HasPrefix(doubts[0], "lb.listen.http: ") {
		t.Errorf("doubts %v about a listener that nobody serves", doubts)
	}
}

// No path stays relative: what stands in a file begins at that file, all else at Options.Dir.
func TestPaths(t *testing.T) {
	env, _ := sandbox(t)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("conf", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, "conf/"+FileName, "lb:\n  tls: {cert: a.crt, key: /b.key}\n  node_tls: {ca: ca.pem, cert: c.crt, key: /c.key}\n  access_log: {file: log/a.log}\n")
	o := Options{Env: append(env, "ERLMCP_LB_STICKY_KEY_FILE=key"), Flags: []Flag{{Path: "cluster.logs.dir", Value: "../logs", Name: "--logs"}}}
	for _, test := range []struct{ dir, file, base string }{
		{"", "conf/" + FileName, dir},
		{filepath.Join(dir, "conf"), "", filepath.Join(dir, "conf")},
		{"/elsewhere", filepath.Join(dir, "conf", FileName), "/elsewhere"},
	} {
		o.Dir, o.File = test.dir, test.file
		c := load(t, o)
		for got, want := range map[string]string{
			c.File:              filepath.Join(dir, "conf", FileName),
			c.LB.TLS.Cert:       filepath.Join(dir, "conf", "a.crt"),
			c.LB.TLS.Key:        "/b.key",
			c.LB.NodeTLS.CA:     filepath.Join(dir, "conf", "ca.pem"),
			c.LB.NodeTLS.Cert:   filepath.Join(dir, "conf", "c.crt"),
			c.LB.NodeTLS.Key:    "/c.key",
			c.LB.AccessLog.File: filepath.Join(dir, "conf", "log", "a.log"),
			c.LB.Sticky.KeyFile: filepath.Join(test.base, "key"),
			c.Cluster.Logs.Dir:  filepath.Join(filepath.Dir(test.base), "logs"),
		} {
			if got != want {
				t.Errorf("from %q: %s, want %s", test.dir, got, want)
			}
		}
	}
	o.Env = append(o.Env, "ERLMCP_LB_ACCESS_LOG_FILE=-")
	if got := load(t, o).LB.AccessLog.File; got != "-" {
		t.Errorf("the standard output is %q", got)
	}
}

func TestScalars(t *testing.T) {
	env, _ := sandbox(t)
	write(t, FileName, `
lb: {max_connections: 1_000, tls: {cert: 1, key: "2"}, timeouts: {idle: 1h30m, drain: 0s}, max_message: 4m}
loadtest: {tolerance_percent: 3, max_latency_cv_percent: 2.5}
`)
	c := load(t, Options{Env: env})
	if c.LB.MaxConnections != 1000 || filepath.Base(c.LB.TLS.Cert) != "1" || c.LB.Timeouts.Idle != 90*time.Minute || c.LB.Timeouts.Drain != 0 ||
		c.LB.MaxMessage != 4<<20 || c.Loadtest.TolerancePercent != 3 || c.Loadtest.MaxLatencyCVPercent != 2.5 {
		t.Errorf("%+v", c.LB)
	}
}

// A unit takes along what the configuration in force was taken from, and nothing else.
func TestSources(t *testing.T) {
	dir := t.TempDir()
	file, user := filepath.Join(dir, "erlmcp.yaml"), filepath.Join(dir, "home", "erlmcp", FileName)
	if err := os.MkdirAll(filepath.Dir(user), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{file: "lb: {balance: source}", user: "lb: {balance: random2, workers: 3}"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	home := "XDG_CONFIG_HOME=" + filepath.Join(dir, "home")
	for _, c := range []struct {
		what string
		o    Options
		user string
		vars []string
	}{
		{"defaults", Options{Dir: filepath.Join(dir, "none")}, "", nil},
		{"a file", Options{File: file}, "", nil},
		{"both files", Options{File: file, Env: []string{home}}, user, nil},
		{"the user's file as the file", Options{File: user, Env: []string{home}}, "", nil},
		{
			"the environment", Options{File: file, Env: []string{
				"ERLMCP_LB_WORKERS=2", "ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_CLUSTER_NODES=[{name: a, tcp: 9}]", "ERLMCP_STATE_DIR=/x", "PATH=/bin",
			}},
			"", []string{"ERLMCP_CLUSTER_NODES", "ERLMCP_LB_LISTEN_HTTP", "ERLMCP_LB_WORKERS"},
		},
		{
			"what a flag is over", Options{Env: []string{"ERLMCP_LB_WORKERS=2"}, Flags: []Flag{{"lb.workers", "4", "--workers"}}, Dir: filepath.Join(dir, "none")},
			"", nil,
		},
	} {
		loaded, err := Load(c.o)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if user, vars := loaded.Sources(c.o.Env); user != c.user || !slices.Equal(vars, c.vars) {
			t.Errorf("%s: %q, %v; want %q, %v", c.what, user, vars, c.user, c.vars)
		}
	}
}
