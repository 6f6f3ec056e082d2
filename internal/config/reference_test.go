package config

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

// The page about the keys is made from what "config init" writes.
func TestReferenceIsCurrent(t *testing.T) {
	const name = "../../docs/configuration.md"
	want := reference()
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not current: run go generate ./cmd (%v)", name, err)
	}
}

// Whatever the page says of single keys is about keys that there are, and each number has its unit.
func TestReferenceKnowsTheKeys(t *testing.T) {
	leaves := make(map[string]reflect.Type)
	for _, l := range leavesOf(reflect.TypeFor[Config](), "") {
		leaves[l.path] = l.typ
		if isNumber(l.typ) != (unitOf[l.path] != "") {
			t.Errorf("%s is a %v, and its unit is %q", l.path, l.typ, unitOf[l.path])
		}
	}
	for _, list := range []map[string]string{unitOf, appliedBy} {
		for path := range list {
			if leaves[path] == nil {
				t.Errorf("there is no key %s", path)
			}
		}
	}
}

const referenceHead = `<!-- Made by go generate ./cmd. What it says of keys is in internal/config/comments.go. -->

# Configuration

Every key of ` + "`erlmcp.yaml`" + `, in the order of the file. You need none of them: each has a default. ` + "`erlmcp config init`" + ` writes the same
as a file. [The guide](guide.md#configuration) says where values come from and how to check them.

* **Durations** are written like ` + "`750ms`, `30s`, `5m`, `1h30m`" + `. **Sizes** are bytes, or like ` + "`64KiB`, `16MB`" + `.
* **Addresses and prefixes** are like ` + "`192.0.2.7`, `10.0.0.0/8`, `2001:db8::/48`" + `. A relative **path** begins at the directory of the
  file it stands in.
* ` + "`lb.limits.exempt`" + ` is the key ` + "`exempt`" + ` in ` + "`limits`" + ` in ` + "`lb`" + `. Its environment variable is ` + "`ERLMCP_LB_LIMITS_EXEMPT`" + `.

The last column of each table says when a changed key takes effect:

| takes effect | how |
|---|---|
| reload | ` + "`erlmcp lb reload`" + `, ` + "`systemctl reload erlmcp-lb`" + ` or SIGHUP |
| restart | ` + "`erlmcp lb stop && erlmcp lb start`" + `, or ` + "`systemctl restart erlmcp-lb`" + `. A reload names these keys and leaves them as they are |
| cluster restart | ` + "`erlmcp cluster restart`" + `, or ` + "`systemctl restart erlmcp-cluster`" + `. The nodes start anew |
| next run | whenever you run the command |

`

// reference is docs/configuration.md.
func reference() []byte {
	var page bytes.Buffer
	page.WriteString(referenceHead)
	defaults := reflect.ValueOf(Default()).Elem()
	for i, path := range sectionsOf(defaults.Type(), "") {
		if i > 0 {
			page.WriteString(" · ")
		}
		fmt.Fprintf(&page, "[`%s`](#%s)", path, path)
	}
	page.WriteString("\n")
	for _, f := range fieldsOf(defaults.Type()) {
		referSection(&page, defaults.Field(f.index), f.key)
	}
	return page.Bytes()
}

// sectionsOf lists the sections in order.
func sectionsOf(t reflect.Type, path string) (paths []string) {
	for _, f := range fieldsOf(t) {
		if ft := t.Field(f.index).Type; isSection(ft) {
			paths = append(append(paths, join(path, f.key)), sectionsOf(ft, join(path, f.key))...)
		}
	}
	return paths
}

// referSection writes a table of the section's own keys, then the sections in it.
func referSection(page *bytes.Buffer, v reflect.Value, path string) {
	level := "##"
	if strings.Contains(path, ".") {
		level = "###"
	}
	fmt.Fprintf(page, "\n<a id=\"%s\"></a>\n\n%s %s\n\n%s\n\n| key | type | default | what it is for | takes effect |\n|---|---|---|---|---|\n", path, level, path, cell(comments[path]))
	var inner []field
	for _, f := range fieldsOf(v.Type()) {
		value, key := v.Field(f.index), join(path, f.key)
		if isSection(value.Type()) {
			inner = append(inner, f)
			continue
		}
		fmt.Fprintf(page, "| <a id=\"%s\"></a>`%s` | %s | %s | %s | %s |\n", key, key, typeText(value.Type(), key), defaultText(value, key), cell(comments[key]), effectText(key))
	}
	if path == "cluster" {
		page.WriteString("\nA node, here and in [`lb.nodes`](#lb.nodes):\n\n| key | type | what it is for |\n|---|---|---|\n")
		for _, f := range fieldsOf(nodeType) {
			ft := nodeType.Field(f.index).Type
			fmt.Fprintf(page, "| `%s` | %s | %s |\n", f.key, typeText(ft, ""), cell(nodeComments[f.key]))
		}
	}
	for _, f := range inner {
		referSection(page, v.Field(f.index), join(path, f.key))
	}
}

// cell is text in a cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "_", "\\_", "*", "\\*", "<", "&lt;").Replace(text)
}

func isNumber(t reflect.Type) bool {
	return t.Kind() == reflect.Float64 || t.Kind() == reflect.Int && t != durationType && t != bytesType
}

// typeText says what a value is like, and in which unit.
func typeText(t reflect.Type, path string) string {
	var c Config
	isPath := slices.ContainsFunc(c.paths(), func(p pathKey) bool { return p.key == path })
	switch words := enums[path]; {
	case words != nil:
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "`"+cmp.Or(w, `""`)+"`")
		}
		if t.Kind() == reflect.Slice {
			return "list of " + strings.Join(quoted, ", ")
		}
		return strings.Join(quoted, ", ")
	case t == nodeType:
		return "node"
	case t.Kind() == reflect.Slice && isSection(t.Elem()) && t.Elem() != nodeType:
		var keys []string
		for _, f := range fieldsOf(t.Elem()) {
			keys = append(keys, f.key)
		}
		return "list of `{" + strings.Join(keys, ", ") + "}`"
	case t.Kind() == reflect.Slice:
		return "list of " + strings.TrimSuffix(typeText(t.Elem(), ""), "s") + "s"
	case t == durationType:
		return "duration"
	case t == bytesType:
		return "size"
	case t.Kind() == reflect.Bool:
		return "`true`, `false`"
	case t.Kind() == reflect.Int && unitOf[path] != "":
		return "integer, " + unitOf[path]
	case t.Kind() == reflect.Int:
		return "integer"
	case t.Kind() == reflect.Float64:
		return "number, " + unitOf[path]
	case isPath:
		return "path"
	}
	return "string"
}

// defaultText is the default in a cell.
func defaultText(v reflect.Value, path string) string {
	if path == "lb.nodes" {
		return "those of `cluster.nodes`"
	}
	if path == "cluster.nodes" {
		return "four, `erlmcp1` to `erlmcp4`"
	}
	node := nodeOf(v, path, Plain)
	node.Style = yaml.FlowStyle
	text, err := yaml.Marshal(node)
	if err != nil {
		panic(err)
	}
	one := strings.Join(strings.Fields(string(text)), " ")
	if v.Kind() == reflect.String && v.Len() == 0 {
		one = `""`
	}
	return "`" + one + "`"
}

// effectText says when a changed key takes effect.
func effectText(path string) string {
	section, _, _ := strings.Cut(path, ".")
	return cmp.Or(appliedBy[path], map[string]string{"cluster": "cluster restart", "lb": "reload"}[section], "next run")
}

// appliedBy are the keys that take effect otherwise than their section does.
var appliedBy = map[string]string{
	"cluster.nodes":      "cluster restart; also `erlmcp cluster add`, `remove`",
	"lb.source_table":    "restart",
	"lb.workers":         "restart",
	"lb.max_connections": "reload; restart if the present workers cannot hold that many",
	"lb.listen.tcp":      "reload; what is connected to the old address is drained",
	"lb.listen.http":     "reload; what is connected to the old address is drained",
	"lb.listen.https":    "reload; what is connected to the old address is drained",
	"lb.nodes_from":      "reload; changes of the file at once",
	"lb.tls.cert":        "reload; changes of the file at once",
	"lb.tls.key":         "reload; changes of the file at once",
	"lb.node_tls.ca":     "reload; changes of the file at once",
	"lb.node_tls.cert":   "reload; changes of the file at once",
	"lb.node_tls.key":    "reload; changes of the file at once",

	"lb.checks.headers_file": "reload; changes of the file at once",
}

// unitOf is what numbers count.
var unitOf = map[string]string{
	"cluster.node_max_connections":     "connections",
	"cluster.open_files":               "descriptors",
	"cluster.nice":                     "0 to 19",
	"cluster.liveness.failures":        "checks",
	"cluster.logs.keep":                "files",
	"lb.max_connections":               "connections",
	"lb.node_max_connections":          "connections",
	"lb.workers":                       "processes",
	"lb.http.keepalive_requests":       "requests",
	"lb.limits.connections_per_second": "connections per second",
	"lb.limits.messages_per_second":    "messages per second",
	"lb.limits.max_per_source":         "connections",
	"lb.limits.share_percent":          "percent",
	"lb.limits.ban.violations":         "violations",
	"lb.source_table":                  "sources",
	"lb.checks.fall":                   "checks",
	"lb.checks.rise":                   "checks",
	"loadtest.connections":             "connections",
	"loadtest.connections_per_source":  "connections",
	"loadtest.ramp_rate":               "connections per second",
	"loadtest.ping_rate":               "requests per second",
	"loadtest.sticky_sample":           "clients",
	"loadtest.tolerance_percent":       "percent",
	"loadtest.max_latency_cv_percent":  "percent",
	"loadtest.agents":                  "processes",
	"loadtest.remote_agents":           "processes",
}
