package latency

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Buckets follow each other without a gap, and each is narrow.
func TestBuckets(t *testing.T) {
	last := -1
	for us := int64(1); us < 300_000; us++ {
		b := bucketOf(us)
		if b != last && b != last+1 && last >= 0 {
			t.Fatalf("%d µs is in bucket %d behind %d", us, b, last)
		}
		if top := upTo(b); top < us || float64(top-us) > float64(us)/8 {
			t.Fatalf("%d µs counts as up to %d", us, top)
		}
		last = b
	}
	if bucketOf(longest) != bucketOf(longest*2) || upTo(bucketOf(longest)) < longest {
		t.Error("the longest latency has no bucket of its own")
	}
}

// A curve of several agents is the one that a single agent would have recorded, and its quantiles are those of the answers.
func TestCurvesMergeExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.SampledFrom([]int64{10, 600, 5000}).Draw(t, "length")
		one, merged := NewCurve(), NewCurve()
		took := make(map[int][]int64) // by second
		for range rapid.IntRange(1, 4).Draw(t, "agents") {
			agent := NewCurve()
			for range rapid.IntRange(0, 60).Draw(t, "answers") {
				second := rapid.Int64Range(0, length).Draw(t, "second")
				us := rapid.Int64Range(1, longest).Draw(t, "us")
				agent.Record(second*int64(time.Second), us*int64(time.Microsecond))
				one.Record(second*int64(time.Second), us*int64(time.Microsecond))
				took[int(second)] = append(took[int(second)], us)
			}
			text, err := json.Marshal(agent)
			if err != nil {
				t.Fatal(err)
			}
			var received Curve
			if err := json.Unmarshal(text, &received); err != nil || !received.Sensible() {
				t.Fatalf("%s: %v", text, err)
			}
			merged.Merge(&received)
		}
		if one.Seconds != merged.Seconds || len(one.Spans) != len(merged.Spans) {
			t.Fatalf("%d spans of %d s, want %d of %d", len(merged.Spans), merged.Seconds, len(one.Spans), one.Seconds)
		}
		for i, s := range one.Spans {
			if !reflect.DeepEqual(merged.Spans[i].Counts, s.Counts) && len(s.Counts)+len(merged.Spans[i].Counts) > 0 {
				t.Fatalf("span %d: %v, want %v", i, merged.Spans[i].Counts, s.Counts)
			}
			var here []int64
			for second := i * one.Seconds; second < (i+1)*one.Seconds; second++ {
				here = append(here, took[second]...)
			}
			if len(here) == 0 {
				if s.Quantile(0.99) != 0 {
					t.Fatal("a quantile of nothing")
				}
				continue
			}
			slices.Sort(here)
			most := here[len(here)-1]
			if got := s.Quantile(1); got < most || float64(got-most) > float64(most)/8 {
				t.Fatalf("the longest is %d, want %d", got, most)
			}
		}
	})
}

func TestSensibleCurve(t *testing.T) {
	for _, c := range []Curve{
		{Seconds: 0}, {Seconds: 3}, {Seconds: -1}, {Seconds: 1 << 30}, {Seconds: 1, Spans: make([]Span, maxSpans+1)},
		{Seconds: 1, Spans: []Span{{Counts: make([]uint32, 1<<20)}}},
	} {
		if c.Sensible() {
			t.Errorf("%d s, %d spans", c.Seconds, len(c.Spans))
		}
	}
}
