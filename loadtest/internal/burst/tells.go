package burst

import "slices"

// Knowledge is something that a driver can know of a run.
type Knowledge string

// What there is to know.
const (
	Statuses Knowledge = "statuses" // which statuses the responses have that are no answers
	Nodes    Knowledge = "nodes"    // which node answered, by X-Served-By
	Tail     Knowledge = "tail"     // latencies beyond the 99th percentile
	Answers  Knowledge = "answers"  // latency of answers, apart from that of other responses
	Numbers  Knowledge = "numbers"  // requests can have numbers of their own
)

// Tells is what the results of a driver are worth. No driver here has an open schedule: a late answer delays the next
// request, which no latency shows. None looks into responses.
type Tells struct {
	Known   []Knowledge
	Sources int      // addresses that it connects from
	Notes   []string // what it cannot tell, for the report
}

// Knows reports whether the driver can know that.
func (t Tells) Knows(k Knowledge) bool { return slices.Contains(t.Known, k) }

// notes begins with what all have in common.
func notes(driver string, others ...string) []string {
	return append([]string{
		driver + " works in a closed loop: a connection that waits for a late answer asks nothing meanwhile, so latencies leave out what other clients would have waited (coordinated omission), and the rate is what the server allows.",
		driver + " connects from one source address: a balancer that goes by addresses sends all to one node.",
		driver + " does not look into responses: an error of JSON-RPC or of a tool with a status of 200 counts as an answer.",
	}, others...)
}
