package loadtest

import (
	"encoding/json"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/series"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// Schema is the value of Report.Schema. It has all of SchemaV1, of which reports are read too.
const (
	Schema   = "erlmcp.loadtest/v2"
	SchemaV1 = "erlmcp.loadtest/v1"
)

// Verdict is how a run ended.
type Verdict string

// The verdicts.
const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive" // the generator, not the system, was the limit
	Interrupted  Verdict = "interrupted"  // by the user
)

// Report is what a run measured and what it says about the system. Parts that a run did not come to
// are nil. Durations are in the unit their name ends with, or that their tag unit says. A figure with the tag of says nothing where
// the field that it names is 0, and one with the tag zero nothing where it is 0 itself.
type Report struct {
	Schema   string  `json:"schema"`
	Verdict  Verdict `json:"verdict"`
	Reason   string  `json:"reason,omitempty"` // why the run ended early
	Target   string  `json:"target"`
	Driver   string  `json:"driver"`             // what clients are made of
	Nameless string  `json:"nameless,omitempty"` // why answers name no node, if they do not; what is about single nodes is not judged then
	// PerRequest says that a node is chosen for each request, as in the stateless era of MCP: clients have none. Shared says
	// that clients share the balancer's connections to nodes.
	PerRequest bool `json:"per_request,omitempty"`
	Shared     bool `json:"shared_connections,omitempty"`

	Version   string       `json:"version"`
	Command   []string     `json:"command,omitempty"` // that began the run, without secrets
	Host      machine.Host `json:"host"`              // where the coordinator ran
	Seed      uint64       `json:"seed"`              // of random values in what clients ask
	Started   time.Time    `json:"started"`
	DurationS float64      `json:"duration_s"`

	Checks    Checks       `json:"checks"`
	Advice    []string     `json:"advice,omitempty"` // what can be done about a verdict that is not a pass
	Preflight Requirements `json:"preflight"`
	Plan      PlanSummary  `json:"plan"`
	Phases    []PhaseTime  `json:"phases"`

	Baseline     *Quantiles        `json:"baseline_latency_us"`
	Connections  *Connections      `json:"connections"`
	Nodes        []NodeResult      `json:"nodes"`
	Distribution *Distribution     `json:"distribution"`
	Latency      *LatencyResult    `json:"latency"`
	Requests     *Requests         `json:"requests"`
	Sticky       *Sticky           `json:"sticky"`
	StickyAfter  *Sticky           `json:"sticky_after_failover"`
	Failover     *Failover         `json:"failover"`
	Generator    Generator         `json:"generator"`
	Resources    *series.Resources `json:"resources"`

	// Notes are what the driver cannot tell, and what of the machine has spoiled which figures.
	Notes []string `json:"notes,omitempty"`
	// Straight is the latency at each node without the balancer and without load; beside Baseline it says what the balancer costs.
	Straight []NodeLatency `json:"straight,omitempty"`
	Steps    []StepResult  `json:"steps,omitempty"` // of the script, in the order of their names
	// Setup is what connections waited for, by stage: connect, tls, session, first_event.
	Setup    map[string]Quantiles `json:"setup_latency_us,omitempty"`
	Sessions *Sessions            `json:"sessions,omitempty"`
	Search   *Search              `json:"search,omitempty"`
	Rates    []RateStep           `json:"rates,omitempty"`
	Series   *series.Series       `json:"series,omitempty"`
	// Parts are the transports of a mix. All above is then of all of them together.
	Parts []Part `json:"parts,omitempty"`
	// LostAgents ended before their run. What they held is not judged, nor in any sum that was made later.
	LostAgents []fleet.Loss `json:"lost_agents,omitempty"`

	interrupted bool // by the user
}

// Checks are the lines of the verdict. A check that is not judged passes.
type Checks judge.List

// checkJSON is a check as schema erlmcp.loadtest/v1 has it.
type checkJSON struct {
	Name string `json:"name"`
	Pass bool   `json:"pass"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Note string `json:"note,omitempty"` // why it passes without having been judged
	judge.Numbers
}

// MarshalJSON writes them as schema erlmcp.loadtest/v1 has them.
func (l Checks) MarshalJSON() ([]byte, error) {
	return judge.JSON(judge.List(l), func(r *judge.Result) checkJSON {
		return checkJSON{r.Name, r.Verdict != judge.Fail, r.Want, r.Got, r.Why, r.Numbers}
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Checks) UnmarshalJSON(text []byte) error {
	return readList((*judge.List)(l), text, func(c *checkJSON) judge.Result {
		r := judge.Result{Name: c.Name, Worst: judge.Fail, Want: c.Want, Got: c.Got, Why: c.Note, Numbers: c.Numbers}
		switch {
		case !c.Pass:
			r.Verdict = judge.Fail
		case c.Note != "":
			r.Verdict = judge.Unjudged
		}
		return r
	})
}

// readList reads a list in the shape that a report has promised.
func readList[T any](l *judge.List, text []byte, result func(*T) judge.Result) error {
	var shaped []T
	if err := json.Unmarshal(text, &shaped); err != nil {
		return err
	}
	*l = nil
	for i := range shaped {
		*l = append(*l, result(&shaped[i]))
	}
	return nil
}

// PlanSummary is what the run set out to do.
type PlanSummary struct {
	Connections          int     `json:"connections"`
	HoldS                float64 `json:"hold_s"`
	Agents               int     `json:"agents"`
	Sources              int     `json:"sources"`
	ConnectionsPerSource int     `json:"connections_per_source"`
	// SourceAddresses are those that agents of this machine connect from, "FIRST to LAST"; empty when the kernel
	// chooses. SourcesUsedBefore of them were used by an earlier run that the balancer may remember.
	SourceAddresses   string `json:"source_addresses,omitempty"`
	SourcesUsedBefore int    `json:"sources_used_before,omitempty"`

	RampPerSecond  float64 `json:"ramp_per_second"`
	PingsPerSecond float64 `json:"pings_per_second"`
}

// PhaseTime is how long a phase took.
type PhaseTime struct {
	Name  series.Phase `json:"name"`
	TookS float64      `json:"took_s"`
}

// Connections is the outcome of the ramp, except for Dropped, which covers the whole run.
type Connections struct {
	Target      int              `json:"target"`
	Established int              `json:"established"`
	Verified    int              `json:"verified"` // an answer came through the connection, and named its node if nodes do that
	Failed      int              `json:"failed"`   // clients that gave up
	Dropped     int              `json:"dropped"`  // connections lost that no fault of the run explains
	RampMs      float64          `json:"ramp_ms" zero:"never"`
	Attempts    int64            `json:"attempts"`
	Failures    map[string]int64 `json:"failures,omitempty"` // of attempts, by cause; they were retried
	Losses      map[string]int64 `json:"losses,omitempty"`   // of the dropped, by cause
}

// NodeResult is one node at the end of the hold, or all of them if answers name none.
type NodeResult struct {
	Name string `json:"name"` // empty: all of them
	// Connections as the answers count them, and as the kernel does; nil when the node's sockets
	// are not on this machine. KernelBefore were there before the run and are not the run's.
	Connections       int       `json:"connections"`
	KernelConnections *int      `json:"kernel_connections"`
	KernelBefore      int       `json:"kernel_connections_before"`
	Latency           Quantiles `json:"latency_us"`
	Stddev            float64   `json:"latency_stddev_us"`
	Histogram         string    `json:"histogram,omitempty"` // of the latencies: HdrHistogram V2, compressed, base64
}

// NodeLatency is a latency of one node.
type NodeLatency struct {
	Name    string    `json:"name"`
	Latency Quantiles `json:"latency_us"`
}

// StepResult is one step of the script, such as a tool, during the hold.
type StepResult struct {
	Name      string    `json:"name"`
	Latency   Quantiles `json:"latency_us"` // of its answers
	Histogram string    `json:"histogram,omitempty"`
}

// Sessions are those of clients over transports that have them.
type Sessions struct {
	Begun int64 `json:"begun"`
	Ended int64 `json:"ended"` // by clients, as the script says
	Lost  int64 `json:"lost"`  // the server did not know them any more
}

// Search is the outcome of a search for the highest rate that holds.
type Search struct {
	Limit             string  `json:"limit"`                            // what had to hold, as it was given
	RatePerSecond     float64 `json:"rate_per_second"`                  // the highest that held; 0: none
	FailedPerSecond   float64 `json:"failed_per_second"`                // the lowest that did not; 0: none
	ConfidencePercent float64 `json:"confidence_percent"`               // that the limit is between these two
	EstimatePerSecond float64 `json:"estimate_per_second" zero:"never"` // where between them it is likeliest, without a confidence
	Reason            string  `json:"reason,omitempty"`                 // the search ended for, if not because both are near each other
	Inconclusive      bool    `json:"inconclusive,omitempty"`           // what ended it is not a limit of the system
	TookS             float64 `json:"took_s"`
	Trials            []Trial `json:"trials"`
}

// Trial is one rate that was tried.
type Trial struct {
	RatePerSecond float64   `json:"rate_per_second"`   // asked for
	GotPerSecond  float64   `json:"got_per_second"`    // answers
	Purpose       string    `json:"purpose,omitempty"` // grow, narrow, confirm or rest
	LengthS       float64   `json:"length_s"`
	Held          bool      `json:"held"`
	Why           string    `json:"why,omitempty"` // it did not, or says nothing
	Latency       Quantiles `json:"latency_us"`
	ErrorsPercent float64   `json:"errors_percent"`
}

// RateStep is what came of one of the rates that were to be tried.
type RateStep struct {
	Name          string    `json:"name"`            // the rate, as in rates.1000.latency_us.p99
	RatePerSecond float64   `json:"rate_per_second"` // asked for
	GotPerSecond  float64   `json:"got_per_second"`  // answers
	LengthS       float64   `json:"length_s"`
	Latency       Quantiles `json:"latency_us"`
	ErrorsPercent float64   `json:"errors_percent"`
	Why           string    `json:"why,omitempty"` // it says little about the system
}

// Part is one transport of a mix.
type Part struct {
	Name         string         `json:"name"` // the transport
	Target       string         `json:"target"`
	Driver       string         `json:"driver"`
	Nameless     string         `json:"nameless,omitempty"`
	PerRequest   bool           `json:"per_request,omitempty"`
	Shared       bool           `json:"shared_connections,omitempty"`
	Connections  *Connections   `json:"connections"`
	Nodes        []NodeResult   `json:"nodes"`
	Distribution *Distribution  `json:"distribution"`
	Latency      *LatencyResult `json:"latency"`
	Requests     *Requests      `json:"requests"`
	Sticky       *Sticky        `json:"sticky"`
}

// Distribution is how far the nodes are from their fair share.
type Distribution struct {
	TargetPerNode int `json:"target_per_node"`
	Tolerance     int `json:"tolerance"`
	MaxDeviation  int `json:"max_deviation"`
}

// LatencyResult is the latency of all answers of the hold, and how the nodes compare; that is 0 where answers name none.
type LatencyResult struct {
	Quantiles
	Stddev                float64 `json:"stddev" unit:"us" of:"count"`
	BetweenNodesCVPercent float64 `json:"between_nodes_cv_percent" of:"windows"`
	Windows               int     `json:"windows"` // of a second, with answers enough from every node
}

// Requests are those of the hold.
type Requests struct {
	Sent     int64 `json:"sent"`
	Answered int64 `json:"answered"`
	Failed   int64 `json:"failed"`
	Lost     int64 `json:"lost"`
	Moved    int64 `json:"moved"` // answered by another node than the connection's

	Causes map[string]int64 `json:"causes,omitempty"` // of the failed: 429, 404, other statuses, errors of tools
}

// Sticky is how many clients that left and came back met their node.
type Sticky struct {
	Sampled    int `json:"sampled"`
	Consistent int `json:"consistent" of:"sampled"`
}

// Failover is what the loss of a node did to its clients. Times count from the moment before the
// fault.
type Failover struct {
	Node  string       `json:"node"`
	Fault system.Fault `json:"fault"`
	// DetectedMs is when the balancer marked the node down; where it cannot be asked, when the
	// first client lost its connection.
	DetectedMs   float64       `json:"detected_ms" zero:"never"`
	DetectedBy   string        `json:"detected_by"`              // balancer or clients
	ReroutedMs   float64       `json:"rerouted_ms" zero:"never"` // the last displaced client verified again; with shared connections, the longest that one was not
	RestoredMs   float64       `json:"restored_ms" zero:"never"` // from the mend to the balancer having the node up again
	Restored     bool          `json:"restored"`
	Silent       bool          `json:"silent,omitempty"` // at the end the balancer still kept the clients of the node, which said nothing
	OnNode       int           `json:"on_node"`          // clients the node had
	Displaced    int           `json:"displaced"`
	Recovered    int           `json:"recovered"`
	RequestsLost int64         `json:"requests_lost"`
	Survivors    *Distribution `json:"survivors"` // the spread over the other nodes, with all clients back
}

// Generator is what the run says of itself. Lag is how much later than due the agents did things:
// in the whole run, and during the hold, when latencies are measured.
type Generator struct {
	Agents       int   `json:"agents"`
	P99LagUs     int64 `json:"p99_lag_us"`
	MaxLagUs     int64 `json:"max_lag_us"`
	HoldP99LagUs int64 `json:"hold_p99_lag_us"`
	HoldMaxLagUs int64 `json:"hold_max_lag_us"`
}
