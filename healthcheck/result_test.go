package healthcheck

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestResultJSON(t *testing.T) {
	for _, c := range []struct {
		result Result
		want   string
	}{
		{
			Result{Kind: "tcp", OK: true, Latency: 80 * time.Microsecond},
			`{"kind":"tcp","ok":true,"latency_us":80}`,
		},
		{
			Result{Kind: "mcp", Cause: CauseTimeout, Error: "no reply"},
			`{"kind":"mcp","ok":false,"latency_us":0,"cause":"timeout","error":"no reply"}`,
		},
		{
			Result{Kind: "mcp", OK: true, Latency: time.Millisecond, Detail: map[string]string{"method": "ping"}},
			`{"kind":"mcp","ok":true,"latency_us":1000,"detail":{"method":"ping"}}`,
		},
	} {
		got, err := json.Marshal(c.result)
		if err != nil || string(got) != c.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
		}
		var back Result
		if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, c.result) {
			t.Errorf("back %+v, %v\nwant %+v", back, err, c.result)
		}
	}
}
