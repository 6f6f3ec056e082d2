package loadtest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

// What schema erlmcp.loadtest/v1 promises. There may be more.
const promised = `{"schema":"","verdict":"","target":"","driver":"",
 "checks":[{"name":"","pass":true,"want":"","got":""}],
 "connections":{"target":0,"established":0,"verified":0,"failed":0,"dropped":0,"ramp_ms":0},
 "nodes":[{"name":"","connections":0,"kernel_connections":0,
           "latency_us":{"count":0,"min":0,"mean":0,"p50":0,"p90":0,"p99":0,"p999":0,"max":0}}],
 "distribution":{"target_per_node":0,"tolerance":0,"max_deviation":0},
 "latency":{"count":0,"min":0,"mean":0,"stddev":0,"p50":0,"p90":0,"p99":0,"p999":0,"max":0,"between_nodes_cv_percent":0,"windows":0},
 "sticky":{"sampled":0,"consistent":0},
 "failover":{"node":"","fault":"","detected_ms":0,"rerouted_ms":0,"displaced":0,"recovered":0},
 "generator":{"agents":0,"max_lag_us":0,"hold_max_lag_us":0},
 "resources":{"balancer":{"rss_bytes":0},"nodes":{"rss_bytes":0},"agents":{"rss_bytes":0}}}`

func TestReportKeepsItsSchema(t *testing.T) {
	s, r := Default(), goodReport()
	r.Checks, r.Verdict = conclude(&s, r)
	r.Resources = &series.Resources{}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(promised), &want); err != nil {
		t.Fatal(err)
	}
	if missing := missing("", want, got); len(missing) > 0 {
		t.Errorf("missing, or of another type: %s", strings.Join(missing, ", "))
	}
}

// What is written is read: the same text comes out again, whatever the verdicts.
func TestReportRoundTrips(t *testing.T) {
	r := goodReport()
	r.Checks = Checks{
		{Name: "a", Worst: judge.Fail, Want: "1", Got: "1", Numbers: judge.UpTo(1, 1, "ms")},
		{Name: "b", Worst: judge.Fail, Verdict: judge.Fail, Want: "1", Got: "0"},
		{Name: "c", Worst: judge.Fail, Verdict: judge.Unjudged, Want: "1", Got: "-", Why: "nobody was there"},
	}
	r.Preflight = Requirements{
		{Name: "a", Worst: judge.Fail, Got: "1", Want: "1"},
		{Name: "b", Worst: judge.Warn, Verdict: judge.Warn, Got: "1", Want: "2", Fix: "more"},
		{Name: "c", Worst: judge.Fail, Verdict: judge.Fail, Got: "1", Want: "2", Fix: "more", Usage: true},
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var read Report
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read.Checks, r.Checks) || !reflect.DeepEqual(read.Preflight, r.Preflight) {
		t.Errorf("read:\n%+v\n%+v", read.Checks, read.Preflight)
	}
	if again, err := json.Marshal(&read); err != nil || string(again) != string(text) {
		t.Errorf("written: %s\nagain: %s, %v", text, again, err)
	}
}

// missing lists the paths of want that got lacks.
func missing(path string, want, got any) (paths []string) {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return []string{path}
		}
		for key, value := range want {
			paths = append(paths, missing(path+"."+key, value, object[key])...)
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) == 0 {
			return []string{path + "[]"}
		}
		for _, element := range list {
			paths = append(paths, missing(path+"[]", want[0], element)...)
		}
	case string:
		if _, ok := got.(string); !ok {
			return []string{path}
		}
	case float64:
		if _, ok := got.(float64); !ok {
			return []string{path}
		}
	case bool:
		if _, ok := got.(bool); !ok {
			return []string{path}
		}
	}
	slices.Sort(paths)
	return paths
}
