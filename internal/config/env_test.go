package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// Every leaf can be set from the environment: what Default has, written as text, is read back.
func TestEveryLeafHasAVariable(t *testing.T) {
	env, _ := sandbox(t)
	seen := make(map[string]string)
	def := Default()
	for _, l := range leavesOf(reflect.TypeOf(*def), "") {
		if other, taken := seen[l.env()]; taken {
			t.Errorf("%s is the variable of %s and of %s", l.env(), other, l.path)
		}
		seen[l.env()] = l.path
		v, _ := at(reflect.ValueOf(def).Elem(), l.path)
		if l.path == "lb.nodes" { // empty means the nodes of the cluster
			v, _ = at(reflect.ValueOf(def).Elem(), "cluster.nodes")
		}
		env = append(env, l.env()+"="+asText(v))
	}
	c := load(t, Options{Env: env})
	for variable, path := range seen {
		if got := c.Origin(path).String(); got != variable && path != "cluster.node_max_connections" && path != "lb.checks.give_up" { // 0 is what fits
			t.Errorf("%s comes from %s, not from %s", path, got, variable)
		}
	}
	if len(c.Warnings) > 0 {
		t.Error(c.Warnings)
	}
	if !reflect.DeepEqual(c.LB.Limits, def.LB.Limits) || !reflect.DeepEqual(c.Cluster.Nodes, def.Cluster.Nodes) || !reflect.DeepEqual(c.Loadtest, def.Loadtest) {
		t.Errorf("read back %+v\n%+v", c.LB.Limits, c.Loadtest)
	}
}

// asText writes a value as one would in a shell.
func asText(v reflect.Value) string {
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	var items []string
	for i := range v.Len() {
		item := v.Index(i)
		if item.Kind() != reflect.Struct {
			items = append(items, fmt.Sprint(item.Interface()))
			continue
		}
		var keys []string
		for _, f := range fieldsOf(item.Type()) {
			if value := item.Field(f.index); !f.omitEmpty || !value.IsZero() {
				keys = append(keys, fmt.Sprintf("%s: %v", f.key, value))
			}
		}
		items = append(items, "{"+strings.Join(keys, ", ")+"}")
	}
	if v.Type().Elem().Kind() == reflect.Struct {
		return "[" + strings.Join(items, ", ") + "]"
	}
	return strings.Join(items, ",")
}

func TestVariablesWithoutEffect(t *testing.T) {
	env, _ := sandbox(t)
	c := load(t, Options{Env: append(env,
		"ERLMCP_STATE_DIR=/tmp/x", "ERLMCP_PREFORK=3", "ERLMCP_DAEMON=3", "ERLMCP_LOG_LEVEL=debug", "PATH=/bin", "ERLMCP",
		"ERLMCP_LB_WORKER=2", "ERLMCP_LB_COLOUR_OF_BIKE_SHED=red")})
	want := []string{
		"ERLMCP_LB_COLOUR_OF_BIKE_SHED is not known and has no effect",
		"ERLMCP_LB_WORKER is not known and has no effect; did you mean ERLMCP_LB_WORKERS?",
	}
	if !reflect.DeepEqual(c.Warnings, want) {
		t.Errorf("got %q\nwant %q", c.Warnings, want)
	}
}

func TestListsFromTheEnvironment(t *testing.T) {
	env, _ := sandbox(t)
	for text, want := range map[string][]string{
		"":                          {},
		"10.0.0.0/8":                {"10.0.0.0/8"},
		" 10.0.0.0/8 , ::1 ":        {"10.0.0.0/8", "::1"},
		"[10.0.0.0/8, '::1']":       {"10.0.0.0/8", "::1"},
		"[ ]":                       {},
		"[\n  10.1.1.1, # one\n  ]": {"10.1.1.1"},
	} {
		c := load(t, Options{Env: append(env, "ERLMCP_LB_LIMITS_EXEMPT="+text)})
		if got := c.LB.Limits.Exempt; len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestBadVariablesAndFlags(t *testing.T) {
	env, _ := sandbox(t)
	for variable, want := range map[string]string{
		"ERLMCP_LB_WORKERS=":                        `ERLMCP_LB_WORKERS: lb.workers: "" is not a whole number`,
		"ERLMCP_LB_WORKERS=two":                     `ERLMCP_LB_WORKERS: lb.workers: "two" is not a whole number`,
		"ERLMCP_LB_WORKERS=-1":                      `ERLMCP_LB_WORKERS: lb.workers: must be from 0 to 512, is -1`,
		"ERLMCP_LB_TIMEOUTS_IDLE=5":                 `ERLMCP_LB_TIMEOUTS_IDLE: lb.timeouts.idle: "5" is not a time span like 3s, 250ms or 5m`,
		"ERLMCP_LB_LIMITS_EXEMPT=[":                 `ERLMCP_LB_LIMITS_EXEMPT: lb.limits.exempt: did not find expected node content`,
		"ERLMCP_LB_LIMITS_EXEMPT=[a: 1, [2]]":       "ERLMCP_LB_LIMITS_EXEMPT: lb.limits.exempt[0]: is a mapping, but must be a text\nERLMCP_LB_LIMITS_EXEMPT: lb.limits.exempt[1]: is a list, but must be a text",
		"ERLMCP_CLUSTER_NODES=a,b":                  "ERLMCP_CLUSTER_NODES: cluster.nodes[0]: is \"a\", but must hold keys: name, host, tcp, http, sse, path, url, weight\nERLMCP_CLUSTER_NODES: cluster.nodes[1]: is \"b\", but must hold keys: name, host, tcp, http, sse, path, url, weight",
		"ERLMCP_CLUSTER_NODES=[{nam: a}]":           `ERLMCP_CLUSTER_NODES: cluster.nodes[0].nam: unknown key; did you mean name?`,
		"ERLMCP_LB_PROXY_PROTOCOL_ACCEPT_FROM=1,::": `ERLMCP_LB_PROXY_PROTOCOL_ACCEPT_FROM: lb.proxy_protocol.accept_from[0]: "1" is neither an address nor a prefix`,
	} {
		if _, err := Load(Options{Env: append(env, variable)}); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", variable, err, want)
		}
	}
	_, err := Load(Options{Env: env, Flags: []Flag{{"loadtest.duration", "soon", "--duration"}}})
	if want := `--duration: loadtest.duration: "soon" is not a time span like 3s, 250ms or 5m`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
