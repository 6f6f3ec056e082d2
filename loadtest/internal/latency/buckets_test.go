package latency

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

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
	var none Buckets
	if none.Quantile(0.99) != 0 || none.Mean() != 0 || none.Count() != 0 {
		t.Error("nothing has a latency")
	}
}

// Those of several agents and moments add up, and their quantiles are those of the answers.
func TestBucketsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []int64
		var one, sum, before Buckets
		for range rapid.IntRange(1, 4).Draw(t, "agents") {
			var agent Buckets
			for range rapid.IntRange(0, 60).Draw(t, "answers") {
				us := rapid.Int64Range(1, longest).Draw(t, "us")
				agent.Record(us * 1000)
				one.Record(us * 1000)
				all = append(all, us)
			}
			text, err := json.Marshal(agent)
			if err != nil {
				t.Fatal(err)
			}
			var received Buckets
			if err := json.Unmarshal(text, &received); err != nil {
				t.Fatal(err)
			}
			before = sum
			sum = sum.Plus(received)
			if since := sum.Minus(before); since.Count() != agent.Count() || since.Quantile(0.5) != agent.Quantile(0.5) {
				t.Fatalf("%v came since %v, of %v", since, before, agent)
			}
		}
		if len(all) == 0 {
			return
		}
		if !reflect.DeepEqual(sum, one) {
			t.Fatalf("%v, want %v", sum, one)
		}
		slices.Sort(all)
		for _, part := range []float64{0.01, 0.5, 0.99, 1} {
			want := all[max(int(part*float64(len(all))+0.999999999)-1, 0)]
			if got := one.Quantile(part); got < want || float64(got-want) > float64(want)/8 {
				t.Fatalf("p%g is %d, want %d", 100*part, got, want)
			}
		}
		if mean := one.Mean(); mean < float64(all[0])*0.9 || mean > float64(all[len(all)-1])*1.1 {
			t.Fatalf("mean %g of %v", mean, all)
		}
	})
}
