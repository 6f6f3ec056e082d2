package want_test

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
)

// Report has each kind of field that a report of a load test has; its own package tests the real one.
type Report struct {
	Verdict      string               `json:"verdict"`
	Started      time.Time            `json:"started"`
	Checks       Checks               `json:"checks"`
	Plan         Plan                 `json:"plan"`
	Phases       []Phase              `json:"phases"`
	Baseline     *Quantiles           `json:"baseline_latency_us"`
	Connections  *Connections         `json:"connections"`
	Nodes        []Node               `json:"nodes"`
	Distribution *Distribution        `json:"distribution"`
	Latency      *Latency             `json:"latency"`
	Requests     *Requests            `json:"requests"`
	Sticky       *Sticky              `json:"sticky"`
	Failover     *Failover            `json:"failover"`
	Resources    *Resources           `json:"resources"`
	Steps        []Step               `json:"steps,omitempty"`
	Setup        map[string]Quantiles `json:"setup_latency_us,omitempty"`
	Series       *Series              `json:"series,omitempty"`
	Parts        []Part               `json:"parts,omitempty"`
	Notes        []string             `json:"notes,omitempty"`
}

type Quantiles struct {
	Count int64   `json:"count"`
	Min   int64   `json:"min" unit:"us" of:"count"`
	Mean  float64 `json:"mean" unit:"us" of:"count"`
	P50   int64   `json:"p50" unit:"us" of:"count"`
	P90   int64   `json:"p90" unit:"us" of:"count"`
	P99   int64   `json:"p99" unit:"us" of:"count"`
	P999  int64   `json:"p999" unit:"us" of:"count"`
	Max   int64   `json:"max" unit:"us" of:"count"`
}

// Checks write their JSON themselves.
type Checks judge.List

func (l Checks) MarshalJSON() ([]byte, error) {
	type check struct {
		Name string `json:"name"`
		Pass bool   `json:"pass"`
		judge.Numbers
	}
	return judge.JSON(judge.List(l), func(r *judge.Result) check { return check{r.Name, r.Verdict != judge.Fail, r.Numbers} })
}

type Plan struct {
	HoldS             float64 `json:"hold_s"`
	SourcesUsedBefore int     `json:"sources_used_before,omitempty"`
	RampPerSecond     float64 `json:"ramp_per_second"`
}

type Phase struct {
	Name  PhaseName `json:"name"`
	TookS float64   `json:"took_s"`
}

type PhaseName string

type Connections struct {
	RampMs   float64          `json:"ramp_ms" zero:"never"`
	Failures map[string]int64 `json:"failures,omitempty"`
	Losses   map[string]int64 `json:"losses,omitempty"`
}

type Node struct {
	Name              string    `json:"name"`
	Connections       int       `json:"connections"`
	KernelConnections *int      `json:"kernel_connections"`
	Latency           Quantiles `json:"latency_us"`
	Stddev            float64   `json:"latency_stddev_us"`
}

type Distribution struct {
	MaxDeviation int `json:"max_deviation"`
}

type Latency struct {
	Quantiles
	Stddev                float64 `json:"stddev" unit:"us" of:"count"`
	BetweenNodesCVPercent float64 `json:"between_nodes_cv_percent"`
}

type Requests struct {
	Sent     int64            `json:"sent"`
	Answered int64            `json:"answered"`
	Failed   int64            `json:"failed"`
	Lost     int64            `json:"lost"`
	Causes   map[string]int64 `json:"causes,omitempty"`
}

type Sticky struct {
	Sampled    int `json:"sampled"`
	Consistent int `json:"consistent" of:"sampled"`
}

type Failover struct {
	Node       string        `json:"node"`
	DetectedMs float64       `json:"detected_ms" zero:"never"`
	ReroutedMs float64       `json:"rerouted_ms" zero:"never"`
	RestoredMs float64       `json:"restored_ms" zero:"never"`
	Restored   bool          `json:"restored"`
	Survivors  *Distribution `json:"survivors"`
}

type Resources struct {
	Balancer    ProcessUse `json:"balancer"`
	MemoryBytes int64      `json:"machine_memory_bytes"`
}

type ProcessUse struct {
	RSSBytes   int64   `json:"rss_bytes"`
	CPUPercent float64 `json:"cpu_percent"`
}

type Step struct {
	Name    string    `json:"name"`
	Latency Quantiles `json:"latency_us"`
}

type Series struct {
	IntervalS float64 `json:"interval_s"`
	Points    []Point `json:"points"`
}

type Point struct {
	P99Us *int64 `json:"p99_us,omitempty"`
}

type Part struct {
	Name     string    `json:"name"`
	Nodes    []Node    `json:"nodes"`
	Requests *Requests `json:"requests"`
}
