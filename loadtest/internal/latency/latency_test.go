package latency

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Latencies recorded by several agents and merged are those recorded by one.
func TestLatencyMergesExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, merged := New(), New()
		for range rapid.IntRange(1, 4).Draw(t, "agents") {
			agent := New()
			for range rapid.IntRange(0, 50).Draw(t, "answers") {
				at := rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "at")
				took := rapid.Int64Range(-5, int64(2*time.Minute)).Draw(t, "took")
				agent.Record(at, took)
				one.Record(at, took)
			}
			m, err := agent.Message()
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var received Message
			if err := json.Unmarshal(text, &received); err != nil {
				t.Fatal(err)
			}
			l, err := received.Recording()
			if err != nil {
				t.Fatal(err)
			}
			merged.Merge(l)
		}
		if !one.Histogram.Equals(merged.Histogram) {
			t.Fatal("histograms differ")
		}
		for _, q := range []float64{0, 50, 90, 99, 99.9, 100} {
			if one.Histogram.ValueAtQuantile(q) != merged.Histogram.ValueAtQuantile(q) {
				t.Fatal("quantiles differ")
			}
		}
		if one.Histogram.TotalCount() != merged.Histogram.TotalCount() || one.Histogram.Mean() != merged.Histogram.Mean() {
			t.Fatal("means differ")
		}
		for i, c := range one.Windows {
			if !reflect.DeepEqual(merged.Windows[i], c) {
				t.Fatalf("window %d: %v, want %v", i, merged.Windows[i], c)
			}
		}
	})
}

func TestUnreadableHistogram(t *testing.T) {
	if _, err := (Message{Histogram: "no"}).Recording(); err == nil {
		t.Error("no error")
	}
}
