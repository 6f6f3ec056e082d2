package latency

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Windows of several agents, sent and added up, are those of all requests together, and adding up changes neither.
func TestWindowsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := rapid.SliceOfN(rapid.Int64Range(0, 5000), 0, 3).Draw(t, "limits")
		var one, sum Windows
		for range rapid.IntRange(1, 4).Draw(t, "agents") {
			var agent Windows
			for range rapid.IntRange(0, 60).Draw(t, "requests") {
				due := rapid.Int64Range(0, int64(4*time.Second)).Draw(t, "due")
				took := rapid.Int64Range(0, int64(10*time.Millisecond)).Draw(t, "took")
				answered := rapid.Bool().Draw(t, "answered")
				for _, w := range []*Windows{&one, &agent} {
					c := w.At(due)
					c.Due++
					if answered {
						c.Record(took, limits)
					} else {
						c.Failed++
					}
				}
			}
			text, err := json.Marshal(agent)
			if err != nil {
				t.Fatal(err)
			}
			var received Windows
			if err := json.Unmarshal(text, &received); err != nil {
				t.Fatal(err)
			}
			before, _ := json.Marshal(sum)
			added := sum.Plus(received)
			if after, _ := json.Marshal(sum); string(after) != string(before) || !reflect.DeepEqual(agent, received) {
				t.Fatalf("%s became %s, %v became %v", before, after, agent, received)
			}
			sum = added
		}
		got, _ := json.Marshal(sum)
		want, _ := json.Marshal(one)
		if len(one) > 0 && string(got) != string(want) {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

// A limit is kept by what takes as long as it says.
func TestSlow(t *testing.T) {
	var c Cell
	for _, took := range []time.Duration{time.Millisecond, time.Millisecond + time.Microsecond, 3 * time.Millisecond} {
		c.Record(int64(took), []int64{1000, 2000, 4000})
	}
	if want := (Cell{Count: 3, Sum: 5001, Slow: []int64{2, 1, 0}}); !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
}
