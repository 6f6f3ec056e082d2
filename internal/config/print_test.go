package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func printed(t *testing.T, c *Config, annotate Annotate) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Print(&out, annotate); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The file of "config init" means the same as no file.
func TestInitFileIsTheDefault(t *testing.T) {
	env, _ := sandbox(t)
	without := load(t, Options{Env: env})
	write(t, FileName, printed(t, Default(), Explained))
	with := load(t, Options{Env: env})
	with.File, with.origins, without.origins = "", nil, nil
	if !reflect.DeepEqual(with, without) {
		t.Errorf("got\n%s\nwant\n%s", printed(t, with, Plain), printed(t, without, Plain))
	}
}

// What "config show" prints is what is in effect.
func TestPrintedConfigurationIsReadBack(t *testing.T) {
	env, _ := sandbox(t)
	write(t, FileName, `
cluster:
  nodes: [{name: a, host: 127.0.0.1, tcp: 1, weight: 2}, {name: b, host: "::1", tcp: 2}]
lb: {limits: {exempt: ["::1", 10.0.0.0/8], action: reject}, slow_start: 90s, max_message: 5MB}
loadtest: {tolerance_percent: 2.5, failover_node: "true"}
`)
	first := load(t, Options{Env: env})
	for _, annotate := range []Annotate{Plain, Explained, first.WithOrigins} {
		write(t, FileName, printed(t, first, annotate))
		second := load(t, Options{Env: env})
		second.origins = first.origins
		if !reflect.DeepEqual(first, second) {
			t.Errorf("got\n%s\nwant\n%s", printed(t, second, Plain), printed(t, first, Plain))
		}
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	known := make(map[string]bool)
	var walk func(reflect.Type, string)
	walk = func(section reflect.Type, path string) {
		for _, f := range fieldsOf(section) {
			at := join(path, f.key)
			known[at] = true
			if comments[at] == "" {
				t.Errorf("%s is not explained", at)
			}
			if ft := section.Field(f.index).Type; isSection(ft) {
				walk(ft, at)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	for path := range comments {
		if !known[path] {
			t.Errorf("%s is explained but does not exist", path)
		}
	}
}

// Every field of a section is a key: one without a tag could not be configured.
func TestEveryFieldHasAKey(t *testing.T) {
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		section := reflect.TypeFor[Config]().Field(f.index).Type
		want := section.NumField()
		for i := range section.NumField() {
			if section.Field(i).Tag.Get("yaml") == "-" { // not to be configured
				want--
			}
		}
		if got := len(fieldsOf(section)); got != want {
			t.Errorf("%s has %d keys for %d fields", f.key, got, want)
		}
	}
}

func TestOriginsArePrinted(t *testing.T) {
	env, _ := sandbox(t)
	write(t, FileName, "lb:\n  workers: 2\n  limits: {exempt: [127.0.0.1]}\n")
	c := load(t, Options{Env: append(env, "ERLMCP_LB_BALANCE=source")})
	text := printed(t, c, c.WithOrigins)
	for _, line := range []string{
		"  workers: 2 # erlmcp.yaml:2:12",
		"    exempt: [127.0.0.1] # erlmcp.yaml:3:20",
		"  balance: source # ERLMCP_LB_BALANCE",
		"  source: auto # default",
		"  nodes: # cluster.nodes",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func TestDocumentAndValuesAgree(t *testing.T) {
	document, err := Default().Document()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(document); err != nil {
		t.Fatal(err)
	}
	for _, v := range Default().Values() {
		var value any = document
		for _, key := range strings.Split(v.Key, ".") {
			value = value.(map[string]any)[key]
		}
		if v.Key != "lb.nodes" && !reflect.DeepEqual(value, v.Value) {
			t.Errorf("%s is %v and %v", v.Key, value, v.Value)
		}
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                               "0s",
		250 * time.Millisecond:          "250ms",
		10 * time.Second:                "10s",
		30 * time.Minute:                "30m",
		10 * time.Hour:                  "10h",
		time.Hour + 30*time.Minute:      "1h30m",
		time.Hour + 5*time.Second:       "1h0m5s",
		20*time.Minute + 20*time.Second: "20m20s",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}
