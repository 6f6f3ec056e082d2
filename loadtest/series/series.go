// Package series is how a load test went second by second: what its clients had, and what groups of processes used.
package series

import "github.com/erlmcp/erlmcp/loadtest/machine"

// Phase is a part of a run.
type Phase string

// Series is how the run went, second by second.
type Series struct {
	IntervalS float64 `json:"interval_s"`
	Points    []Point `json:"points"`
	Marks     []Mark  `json:"marks,omitempty"`
}

// Point is one interval. What was not measured in it is nil or missing.
type Point struct {
	AtS         float64          `json:"at_s"` // its end, since the start of the run
	Phase       Phase            `json:"phase"`
	Connections int              `json:"connections"` // verified
	Nodes       map[string]int   `json:"nodes,omitempty"`
	Answers     float64          `json:"answers_per_second"`
	Errors      float64          `json:"errors_per_second"`
	ByCause     map[string]int64 `json:"errors,omitempty"` // by cause, in the interval
	MeanUs      *float64         `json:"mean_us,omitempty"`
	P50Us       *int64           `json:"p50_us,omitempty"`
	P99Us       *int64           `json:"p99_us,omitempty"`
	// Means by node, and by transport of a mix.
	NodesMeanUs map[string]float64 `json:"nodes_mean_us,omitempty"`
	PartsMeanUs map[string]float64 `json:"parts_mean_us,omitempty"`

	BalancerCPU *float64 `json:"balancer_cpu_percent,omitempty"`
	NodesCPU    *float64 `json:"nodes_cpu_percent,omitempty"`
	AgentsCPU   *float64 `json:"agents_cpu_percent,omitempty"`
	BalancerRSS *int64   `json:"balancer_rss_bytes,omitempty"`
}

// Mark is a moment of the run that charts show.
type Mark struct {
	AtS  float64 `json:"at_s"`
	Text string  `json:"text"`
}

// Resources is what the parts of the system used during the hold.
type Resources struct {
	Balancer    ProcessUse `json:"balancer"`
	Nodes       ProcessUse `json:"nodes"`
	Agents      ProcessUse `json:"agents"`
	Coordinator ProcessUse `json:"coordinator"`
	// MemoryBytes is how much less memory the machine had available than before the ramp.
	MemoryBytes int64 `json:"machine_memory_bytes"`
	// Machine is how busy the whole machine was.
	Machine machine.Saturation `json:"machine,omitzero"`
}

// ProcessUse is a sum over processes.
type ProcessUse struct {
	Processes   int     `json:"processes"`
	RSSBytes    int64   `json:"rss_bytes"`   // the most, of all samples; pages they share count in each
	CPUPercent  float64 `json:"cpu_percent"` // of one core, on average
	Descriptors int     `json:"descriptors"` // the most
}
