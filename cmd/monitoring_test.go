package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const monitoringDir = "../docs/monitoring"

// printedMetrics are the metrics that a system really prints.
type printedMetrics struct {
	kinds  map[string]string          // "gauge", …, by the name
	labels map[string][]string        // of a name
	words  map[string]map[string]bool // all values of a label, whatever metric has it
}

// samples are everything that /metrics and "health -o prometheus" print.
func samples(t *testing.T) *printedMetrics {
	s := newSite(t)
	s.run("erlmcp up")
	s.run(s.script(`curl -fsS --retry 60 --retry-all-errors --retry-delay 1 http://127.0.0.1:8080/mcp -H 'Accept: application/json, text/event-stream' -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"ping"}'`))
	text := s.run(s.script("erlmcp health --wait --timeout 2m >/dev/null; curl -fsS http://127.0.0.1:8404/metrics; erlmcp health -o prometheus || [ $? -eq 1 ]"))
	m := &printedMetrics{kinds: make(map[string]string), labels: make(map[string][]string), words: make(map[string]map[string]bool)}
	sample := regexp.MustCompile(`^(\w+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`(\w+)="([^"]*)"`)
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" {
			m.kinds[f[2]] = f[3]
		}
		found := sample.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		var names []string
		for _, l := range label.FindAllStringSubmatch(found[2], -1) {
			names = append(names, l[1])
			if m.words[l[1]] == nil {
				m.words[l[1]] = make(map[string]bool)
			}
			m.words[l[1]][l[2]] = true
		}
		m.labels[m.family(found[1])] = names
	}
	if len(m.kinds) < 50 {
		t.Fatalf("only %d metrics in\n%s", len(m.kinds), text)
	}
	return m
}

// family is the metric that a sample is of.
func (m *printedMetrics) family(name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && m.kinds[base] == "histogram" {
			return base
		}
	}
	return name
}

var (
	metricName = regexp.MustCompile(`\berlmcp_\w+`)
	matcher    = regexp.MustCompile(`(\w+)=~?"([^"$.]*)"`)
)

// mustHave requires that all metrics of an expression, and the values of their labels, are printed.
func (m *printedMetrics) mustHave(t *testing.T, what, expr string) {
	t.Helper()
	for _, name := range metricName.FindAllString(expr, -1) {
		if m.kinds[m.family(name)] == "" {
			t.Errorf("%s: there is no metric %s", what, name)
		}
	}
	for _, match := range matcher.FindAllStringSubmatch(expr, -1) {
		for value := range strings.SplitSeq(match[2], "|") {
			if match[1] != "job" && !m.words[match[1]][value] {
				t.Errorf("%s: nothing has the label %s=%q", what, match[1], value)
			}
		}
	}
}

// What the documents, the alerts and the dashboard say of metrics is so, and every metric is in the documents.
func TestMonitoring(t *testing.T) {
	m := samples(t)
	t.Run("documents", func(t *testing.T) { documentedMetrics(t, m) })
	for name, expr := range alertRules(t) {
		m.mustHave(t, name, expr)
	}
	for title, expr := range dashboardQueries(t) {
		m.mustHave(t, title, expr)
	}
}

// documentedMetrics compares the tables of docs/operations.md with what is printed.
func documentedMetrics(t *testing.T, m *printedMetrics) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	common := []string{"node", "address", "worker"} // are said above the tables
	for _, row := range regexp.MustCompile("(?m)^\\| `(erlmcp_\\w+)(?:\\{([a-z,]+)\\})?` \\| (\\w+) \\| \\S").FindAllStringSubmatch(string(text), -1) {
		name, kind := row[1], row[3]
		known[name] = true
		if m.kinds[name] != kind {
			t.Errorf("%s is a %q, and the documents say %s", name, m.kinds[name], kind)
			continue
		}
		labels := strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' })
		for _, l := range labels {
			if !slices.Contains(m.labels[name], l) {
				t.Errorf("%s has no label %s", name, l)
			}
		}
		for _, l := range m.labels[name] {
			if !slices.Contains(labels, l) && !slices.Contains(common, l) && l != "le" {
				t.Errorf("%s has a label %s", name, l)
			}
		}
	}
	for name := range m.kinds {
		if !known[name] {
			t.Errorf("docs/operations.md does not tell of %s", name)
		}
	}
	var reasons []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [RC][RC ]* \\|").FindAllStringSubmatch(string(text), -1) {
		reasons = append(reasons, row[1])
	}
	slices.Sort(reasons)
	if printed := slices.Sorted(maps.Keys(m.words["reason"])); !slices.Equal(reasons, printed) {
		t.Errorf("the reasons of docs/operations.md are %v, those that are printed %v", reasons, printed)
	}
}

// alertRules are the expressions of alerts.yml. Each alert has an explanation, and a test by promtool.
func alertRules(t *testing.T) map[string]string {
	t.Helper()
	tests, err := os.ReadFile(filepath.Join(monitoringDir, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	decodeYAML(t, "alerts.yml", &file)
	rules := make(map[string]string)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s has no severity, summary or description", r.Alert)
			}
			if !bytes.Contains(tests, []byte(`alertname="`+r.Alert+`"`)) {
				t.Errorf("%s never fires in alerts_test.yml", r.Alert)
			}
			rules[r.Alert] = r.Expr
		}
	}
	return rules
}

func decodeYAML(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoringDir, name))
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dashboardQueries are the queries of dashboard.json, with values for Grafana's variables. Its panels are where they can be
// seen, and ask a data source that whoever imports it chooses.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoringDir, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ Type, UID string }
	type place struct{ X, Y, W, H int }
	var d struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			Description string
			GridPos     place
			Datasource  source
			Targets     []struct {
				RefID, Expr string
				Datasource  source
			}
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 || len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("the dashboard is %q, %q, %d, %+v", d.Title, d.UID, d.SchemaVersion, d.Templating)
	}
	chosen := source{"prometheus", "${datasource}"}
	values := []string{"$__rate_interval", "5m"}
	for _, v := range d.Templating.List {
		values = append(values, "$"+v.Name, ".*")
	}
	replace := strings.NewReplacer(values...)
	queries, ids, taken := make(map[string]string), make(map[int]bool), make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d, %q, is there twice or has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q is over %q, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Description == "" || p.Datasource != chosen {
			t.Errorf("panel %q asks nothing, explains nothing or has a data source of its own", p.Title)
		}
		for _, q := range p.Targets {
			if q.Datasource != chosen || q.RefID == "" {
				t.Errorf("panel %q: query %+v", p.Title, q)
			}
			expr := replace.Replace(q.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("panel %q: unknown variable in %s", p.Title, expr)
			}
			queries[p.Title+" "+q.RefID] = expr
		}
	}
	return queries
}

// Prometheus takes the scrape configuration, the alerts and the queries of the dashboard, and the alerts fire when they should.
func TestPrometheusTakesThem(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed")
	}
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for title, expr := range dashboardQueries(t) {
		fmt.Fprintf(&rules, "  - {record: %q, expr: %q}\n", "panel:"+regexp.MustCompile(`\W`).ReplaceAllString(title, "_"), expr)
	}
	queries := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(queries, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"}, // and the alerts, which it names
		{"test", "rules", "alerts_test.yml"},
		{"check", "rules", queries},
	} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = monitoringDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
