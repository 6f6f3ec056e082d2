package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
)

// DaemonName is the balancer's name in a state directory.
const DaemonName = "lb"

// Paths of the control socket. Client is the other end.
const (
	PathStats   = "/v1/stats"
	PathReload  = "/v1/reload"
	PathStop    = "/v1/stop"
	PathDrain   = "/v1/nodes/{name}/drain"
	PathDisable = "/v1/nodes/{name}/disable"
	PathEnable  = "/v1/nodes/{name}/enable"
	PathBans    = "/v1/bans"
	PathUnban   = "/v1/unban"
	PathExplain = "/v1/explain"
	PathTag     = "/v1/explain/tag"
	PathToken   = "/v1/token"
)

// StopRequest asks the balancer to end.
type StopRequest struct {
	AtOnce bool `json:"at_once"`
}

// ClientRequest names a client, and for how long where that matters.
type ClientRequest struct {
	Client string        `json:"client"`
	For    time.Duration `json:"for,omitempty"` // nanoseconds; 0 is limits.ban.for
}

// Reloaded says what a reload has done. The first two lists hold paths of keys ("lb.limits.ban.for").
type Reloaded struct {
	Changed []string `json:"changed"`           // have a new value in force
	Restart []string `json:"restart,omitempty"` // keep their value until the balancer is restarted
	// Moved says which nodes are elsewhere, by their names, one sentence each.
	Moved []string `json:"moved,omitempty"`
}

// BanStatus is one source that is shut out.
type BanStatus struct {
	Source      string    `json:"source"` // an IPv4 address or an IPv6 /64
	Until       time.Time `json:"until"`
	Connections int       `json:"connections"` // made before the ban, and still held
}

// OfSource answers requests about a client by its source: an IPv4 address or the /64 of an IPv6 address, see sourceOf.
func OfSource(answer func(q ClientRequest, source netip.Prefix) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var q ClientRequest
		if err := control.Read(r, &q); err != nil {
			return nil, err
		}
		source, err := sourceOf(q.Client)
		if err != nil {
			return nil, &control.Error{Status: http.StatusBadRequest, Code: "client", Message: err.Error(), Exit: 2}
		}
		return answer(q, source)
	}
}

// Source is what a client counts as, in the form of BanStatus.Source: its IPv4 address, or the /64 of its IPv6 address.
func Source(client string) (string, error) {
	source, err := sourceOf(client)
	return SourceText(source), err
}

// sourceOf is what a client counts as: its IPv4 address as a /32, or the /64 of its IPv6 address.
// Either may also be given as that prefix.
func sourceOf(client string) (netip.Prefix, error) {
	p, err := ParsePrefix(client)
	if err != nil {
		return p, fmt.Errorf("%q is not an IP address", client)
	}
	bits := 64
	if p.Addr().Is4() {
		bits = 32
	}
	if p.Bits() < bits {
		return p, fmt.Errorf("%s is more than one client: name an IPv4 address or an IPv6 /64", client)
	}
	return netip.PrefixFrom(p.Addr(), bits).Masked(), nil
}

// SourceText prints a source as people name it: an IPv4 address without its length.
func SourceText(source netip.Prefix) string {
	if source.Addr().Is4() {
		return source.Addr().String()
	}
	return source.String()
}
