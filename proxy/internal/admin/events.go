package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

// Bounds of the event stream.
const (
	maxWatchers   = 32
	watchPatience = 5 * time.Second // for a watcher to take an event
	MaxBansShown  = 100
)

// snapshot is the data of an event "stats".
type snapshot struct {
	proxy.Stats
	Bans []proxy.BanStatus `json:"bans"` // the first of them; Sources.Banned counts all
}

// History is the last minutes, one column of numbers a node and quantity. Columns are as long as
// Times; a null is a second in which there was no such node, or nothing to measure.
type History struct {
	Times []int64       `json:"times"` // Unix milliseconds
	Nodes []NodeHistory `json:"nodes"`
}

// NodeHistory is one node in a History.
type NodeHistory struct {
	Name        string     `json:"name"`
	Address     string     `json:"address"`
	Connections []*int64   `json:"connections"`
	Connects    []*float64 `json:"connections_per_s"`
	Messages    []*float64 `json:"messages_per_s"`
	ConnectP99  []*float64 `json:"connect_p99_us"`
	Requests    []*float64 `json:"requests_per_s"`
	AnswerP99   []*float64 `json:"answer_p99_us"`
}

// events is /events: server-sent events, "history" once and then "stats" every second.
type events struct {
	balancer Balancer
	seats    chan struct{}

	mu     sync.Mutex
	of     <-chan struct{} // the second latest is of
	latest []byte
}

func newEvents(b Balancer) *events {
	return &events{balancer: b, seats: make(chan struct{}, maxWatchers)}
}

// ServeHTTP sends events until the watcher leaves, is too slow, or the listener closes.
func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case e.seats <- struct{}{}:
		defer func() { <-e.seats }()
	default:
		w.Header().Set("Retry-After", "10")
		control.Fail(w, &control.Error{Status: http.StatusServiceUnavailable, Code: "watchers", Message: "too many watch the balancer already", Advice: "/stats.json is not limited"})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // else the server's, for heads, would end the request
	send := func(message []byte) error {
		if err := out.SetWriteDeadline(time.Now().Add(watchPatience)); err != nil {
			return err
		}
		if _, err := w.Write(message); err != nil {
			return err
		}
		return out.Flush()
	}
	err := send(message("history", e.balancer.History()))
	for err == nil {
		next := e.balancer.Next()
		if err = send(e.current(next)); err != nil {
			break
		}
		select {
		case <-next:
		case <-r.Context().Done():
			return
		}
	}
}

// current is the event of the second that ends with next: made once, for all watchers.
func (e *events) current(next <-chan struct{}) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of != next {
		e.of, e.latest = next, message("stats", snapshot{e.balancer.View().Stats, e.balancer.FirstBans(MaxBansShown)})
	}
	return e.latest
}

// message is one event with JSON as its data, which has no line breaks.
func message(event string, v any) []byte {
	var b bytes.Buffer
	b.WriteString("event: " + event + "\ndata: ")
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		panic("proxy: statistics are not JSON: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
}
