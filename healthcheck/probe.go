// Package healthcheck finds out whether servers are alive, and puts what is known about a cluster and
// its balancer together in one report.
//
// A probe asks one server once and returns a [Result]; it keeps nothing between two calls. Probes
// are used by the balancer's active checks, by the supervisor's readiness test, by the load test
// and by the health command, so all of them mean the same by "up".
package healthcheck

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultTimeout limits a probe whose target has no limit of its own.
const DefaultTimeout = 2 * time.Second

// Target is the server to probe.
type Target struct {
	Address string        // host:port
	Timeout time.Duration // for the whole probe; 0 means DefaultTimeout. The context's deadline holds as well

	// Transport is what is served there: OverHTTP and OverSSE make kind mcp ask by HTTP, all else by lines.
	Transport string
	Path      string      // of the request over HTTP; "" is the default of the kind
	Host      string      // what the request calls the server, "" is Address
	Header    http.Header // sent with the request over HTTP besides
	TLS       *tls.Config // nil is plain; kind tls has its own
}

// Values of Target.Transport and Result.Transport, as in topology.Port.
const (
	OverTCP  = "tcp"
	OverHTTP = "http"
	OverSSE  = "sse"
)

// Probe asks a server once. It returns within the target's timeout and the context's deadline, and
// is safe for concurrent use.
type Probe func(ctx context.Context, t Target) Result

// probes by kind. Register a new kind here.
var probes = map[string]Probe{
	"tcp":  probeTCP,
	"mcp":  probeMCP,
	"http": probeHTTP,
	"tls":  probeTLS,
	"icmp": probeICMP,
}

// Lookup returns the probe of a kind:
//
//	icmp  the host answers an echo request; says nothing about the server
//	tcp   the server accepts a connection (a frozen process still does: its kernel accepts)
//	mcp   the server also answers an MCP request, as newline-delimited JSON-RPC or by HTTP
//	http  the server answers GET /health, or another path, with success
//	tls   the server makes a TLS handshake, with a certificate that is valid now
func Lookup(kind string) (Probe, error) {
	if p, ok := probes[kind]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("unknown check %q (checks: %s)", kind, strings.Join(Kinds(), ", "))
}

// Kinds lists the kinds of probes in alphabetical order.
func Kinds() []string { return slices.Sorted(maps.Keys(probes)) }

// Check is one probe to make.
type Check struct {
	Kind   string
	Target Target
}

// Run makes checks at once and returns the results in their order. An unknown kind is a failed check.
func Run(ctx context.Context, checks []Check) []Result {
	results := make([]Result, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			probe, err := Lookup(c.Kind)
			if err != nil {
				results[i] = Result{Kind: c.Kind, Cause: CauseLocal, Error: err.Error()}
				return
			}
			results[i] = probe(ctx, c.Target)
			results[i].Transport = c.Target.Transport
		})
	}
	wg.Wait()
	return results
}
