package healthcheck

import (
	"math"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
)

// Statistics sum up what the rounds so far have found out about a node. Rounds in which nothing could
// be found out do not count.
type Statistics struct {
	Rounds              int       `json:"rounds"`
	Up                  int       `json:"rounds_up"`
	AvailabilityPercent float64   `json:"availability_percent"` // of the rounds
	Flaps               int       `json:"flaps"`                // changes between up and down
	Since               time.Time `json:"since,omitzero"`       // the first round of the present status

	// Latencies are those of the answers alone; see NodeHealth.Latency. All are 0 before the first.
	Answers   int   `json:"answers"`
	MinimumUS int64 `json:"latency_min_us"`
	AverageUS int64 `json:"latency_avg_us"`
	MaximumUS int64 `json:"latency_max_us"`
}

// Event is a change from one round to the next.
type Event struct {
	Time    time.Time `json:"time"`
	Subject string    `json:"subject"` // "health", "load balancer", or the name of a node
	From    string    `json:"from"`
	To      string    `json:"to"`
	Reason  string    `json:"reason,omitempty"`
}

// History is what a watcher remembers of its rounds. It asks nobody and does not grow with time. The
// zero value is an empty one; it belongs to one goroutine.
type History struct {
	Rounds int
	Begun  time.Time // of the first round

	nodes map[string]*record
	last  map[string]string // status by subject
}

// record is what is remembered of one node.
type record struct {
	Statistics
	sum    time.Duration // of latencies
	status string        // the last one that was certain
}

// Add takes in a round: it gives each node of the report its statistics and returns what has changed
// since the round before.
func (h *History) Add(r *Report) (changes []Event) {
	if h.nodes == nil {
		h.nodes, h.last = make(map[string]*record), make(map[string]string)
		h.Begun = r.Time
	}
	h.Rounds++
	changes = h.change(changes, r.Time, "health", string(r.Status), strings.Join(r.Reasons, "; "))
	changes = h.change(changes, r.Time, "load balancer", r.LoadBalancer.word(), r.LoadBalancer.Error)
	for i := range r.Nodes {
		n := &r.Nodes[i]
		changes = h.change(changes, r.Time, n.Name, n.word(), failure(n.Checks))
		n.Statistics = h.count(n, r.Time)
	}
	return changes
}

// change is an event when the subject was something else before.
func (h *History) change(changes []Event, at time.Time, subject, status, reason string) []Event {
	before, known := h.last[subject]
	h.last[subject] = status
	if !known || before == status {
		return changes
	}
	return append(changes, Event{at, subject, before, status, reason})
}

// count returns a copy: reports are kept by others.
func (h *History) count(n *NodeHealth, at time.Time) *Statistics {
	s := h.nodes[n.Name]
	if s == nil {
		s = &record{}
		h.nodes[n.Name] = s
	}
	if n.Status != NodeUnknown {
		s.Rounds++
		if n.Status == NodeUp {
			s.Up++
		}
		if s.status != n.Status {
			if s.status != "" {
				s.Flaps++
			}
			s.status, s.Since = n.Status, at
		}
		s.AvailabilityPercent = math.Round(float64(s.Up)/float64(s.Rounds)*100_000) / 1000
	}
	if latency, ok := n.Latency(); ok {
		us := latency.Microseconds()
		if s.Answers == 0 || us < s.MinimumUS {
			s.MinimumUS = us
		}
		s.MaximumUS = max(s.MaximumUS, us)
		s.Answers++
		s.sum += latency
		s.AverageUS = (s.sum / time.Duration(s.Answers)).Microseconds()
	}
	copied := s.Statistics
	copied.Since = mono.Retell(s.Since)
	return &copied
}

// word is the state of the balancer in a word.
func (lb *LoadBalancer) word() string {
	switch {
	case !lb.Running:
		return "not running"
	case lb.State != "":
		return lb.State
	}
	return "running"
}

// word is the state of the node as checks and balancer have it: "up", or "up, draining".
func (n *NodeHealth) word() string {
	if n.Balancer == "" || n.Balancer == n.Status {
		return n.Status
	}
	return n.Status + ", " + n.Balancer
}

// byMeaning are the kinds of checks from the one that says most about the service.
var byMeaning = []string{"mcp", "http", "tls", "tcp", "icmp"}

// Latency is that of the check that says most about the service, among those that were made: ok is
// false when it failed.
func (n *NodeHealth) Latency() (latency time.Duration, ok bool) {
	for _, kind := range byMeaning {
		for _, c := range n.Checks {
			if c.Kind == kind {
				return c.Latency, c.OK
			}
		}
	}
	return 0, false
}

// Share is how many connections a node that serves would have if those of all of these were spread by
// weight. It is 0 for others, and where the connections are not known.
func (r *Report) Share(i int) float64 {
	total, weights := 0, 0
	for j := range r.Nodes {
		if n := &r.Nodes[j]; n.serves() && n.Connections != nil {
			total += *n.Connections
			weights += n.Weight
		}
	}
	if n := &r.Nodes[i]; n.serves() && weights > 0 {
		return float64(total) * float64(n.Weight) / float64(weights)
	}
	return 0
}

// serves reports whether clients are meant to come to the node.
func (n *NodeHealth) serves() bool {
	return n.Status == NodeUp && (n.Balancer == "" || n.Balancer == NodeUp)
}
