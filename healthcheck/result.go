package healthcheck

import (
	"encoding/json"
	"time"
)

// Result is what one probe found.
type Result struct {
	Kind      string
	Transport string // of the target, where one was named
	OK        bool

	// Latency is from the first byte sent to the end of the reply, or for kinds tcp and tls the time of
	// the handshake. 0 when there was no reply.
	Latency time.Duration

	Cause  Cause             // "" when OK
	Error  string            // what went wrong, for people; "" when OK
	Detail map[string]string // what else the probe learned; see each probe
}

// Name tells the checks of a node apart: the kind, and for mcp also the transport where that is not lines,
// "mcp-http".
func (r Result) Name() string {
	if r.Kind == "mcp" && r.Transport != "" && r.Transport != OverTCP {
		return r.Kind + "-" + r.Transport
	}
	return r.Kind
}

// Cause sorts failures, for decisions and for metrics.
type Cause string

// Causes of failed probes.
const (
	CauseRefused     Cause = "refused"     // nobody listens
	CauseUnreachable Cause = "unreachable" // no route, or no answer to the handshake in time
	CauseReset       Cause = "reset"       // the connection was reset
	CauseClosed      Cause = "closed"      // the server ended the connection without a reply
	CauseTimeout     Cause = "timeout"     // connected, but no complete reply in time
	CauseProtocol    Cause = "protocol"    // the reply is not what the protocol says
	CauseUnhealthy   Cause = "unhealthy"   // an answer as the protocol says, and the answer is no
	CauseResolve     Cause = "resolve"     // the host's name is not known
	CauseLocal       Cause = "local"       // this side could not ask (descriptors, ports); says nothing about the server
	CauseCanceled    Cause = "canceled"    // the caller gave up; says nothing about the server
)

// Conclusive reports whether the result says anything about the server: a probe that could not be
// made, or was given up by the caller, does not.
func (r Result) Conclusive() bool { return r.Cause != CauseLocal && r.Cause != CauseCanceled }

// jsonResult is the form of a Result in JSON.
type jsonResult struct {
	Kind      string            `json:"kind"`
	Transport string            `json:"transport,omitempty"`
	OK        bool              `json:"ok"`
	LatencyUS int64             `json:"latency_us"`
	Cause     Cause             `json:"cause,omitempty"`
	Error     string            `json:"error,omitempty"`
	Detail    map[string]string `json:"detail,omitempty"`
}

// MarshalJSON writes the latency as whole microseconds, "latency_us".
func (r Result) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonResult{r.Kind, r.Transport, r.OK, r.Latency.Microseconds(), r.Cause, r.Error, r.Detail})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Result) UnmarshalJSON(b []byte) error {
	var j jsonResult
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*r = Result{j.Kind, j.Transport, j.OK, time.Duration(j.LatencyUS) * time.Microsecond, j.Cause, j.Error, j.Detail}
	return nil
}
