package config

import (
	"reflect"
	"testing"
	"time"
)

func readText(t *testing.T, text string) (*Config, error) {
	t.Helper()
	c := Default()
	c.origins = make(map[string]Origin)
	var p problems
	c.readYAML("test.yaml", []byte(text), &p)
	return c, p.err()
}

// Merge keys and anchors mean what YAML says: own keys win, then the first of those merged.
func TestMergeKeys(t *testing.T) {
	c, err := readText(t, `
x-usual: &usual {balance: source, workers: 3, timeouts: {idle: 7s}}
x-other: &other {<<: *usual, balance: random2, max_connections: 77}
lb:
  workers: 5
  <<: [*other, *usual]
health: &health
  timeout: 4s
  <<: {timeout: 9s, interval: 8s}
cluster:
  nodes:
    - &first {name: a, http: 9101}
    - {<<: *first, name: b, http: 9102}
    - <<: *first
      name: c
      http: 9103
`)
	if err != nil {
		t.Fatal(err)
	}
	if lb := &c.LB; lb.Workers != 5 || lb.Balance != "random2" || lb.MaxConnections != 77 || lb.Timeouts.Idle != 7*time.Second {
		t.Errorf("lb: workers %d, balance %s, %d connections, idle %v", lb.Workers, lb.Balance, lb.MaxConnections, lb.Timeouts.Idle)
	}
	if h := &c.Health; h.Timeout != 4*time.Second || h.Interval != 8*time.Second {
		t.Errorf("health: timeout %v, interval %v", h.Timeout, h.Interval)
	}
	if got, want := c.NodeNames(), []string{"a", "b", "c"}; !reflect.DeepEqual(got, want) || c.Cluster.Nodes[2].HTTP != 9103 {
		t.Errorf("nodes %v, want %v", got, want)
	}
	if o := c.Origin("lb.max_connections"); o.Line != 3 {
		t.Errorf("a merged value comes from %v", o)
	}
}

func TestMergeKeysGoneWrong(t *testing.T) {
	for text, want := range map[string]string{
		"lb: &a {<<: *a, workers: 2}":                      "",
		"lb: {<<: {wrokers: 2}}":                           "test.yaml:1:11: lb.wrokers: unknown key; did you mean workers?",
		"lb: {<<: [{workers: 2}, 3]}":                      `test.yaml:1:25: lb.<<: is "3", but must be a mapping, or a list of mappings, to take keys from`,
		"lb: {\"<<\": {workers: 2}, workers: 2}":           `test.yaml:1:6: lb.<<: unknown key; known are `,
		"x-y: [1, 2]\nlb: {x-y: 1}":                        "test.yaml:2:6: lb.x-y: unknown key; known are ",
		"lb: {<<: {workers: 2}, <<: {workers: 3}}":         "",
		"lb: {workers: 1, workers: 2, <<: {workers: 3}}":   "test.yaml:1:18: lb.workers: is already set in line 1",
		"x-a: &a [*b]\nx-b: &b [*a]\nlb: {<<: [*a, *b]}\n": "test.yaml: unknown anchor 'b' referenced",
	} {
		_, err := readText(t, text)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if len(got) < len(want) || got[:len(want)] != want || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
