package board

import "net/http"

// Reason is why a client, or one of its requests, was refused, or why something under way was ended
// before its end.
type Reason int

// Reasons. ReasonFull is the balancer or every node at its cap, ReasonWorkerFull
// the accepting process out of descriptors.
const (
	ReasonBan Reason = iota
	ReasonRate
	ReasonFull
	ReasonNoNode
	ReasonWorkerFull
	ReasonPerSource

	// Of single HTTP requests, whose connection may go on.
	ReasonMessageRate // over the message rate
	ReasonBadRequest  // not a request that can be forwarded
	ReasonTooLarge    // head or body
	ReasonSlow        // head or body did not come in time
	ReasonSessionGone // the node of its MCP session
	ReasonBadReply    // the node's answer is not HTTP
	ReasonNodeLost    // the node closed the connection instead of answering
	ReasonNodeTimeout // the node did not answer in time

	ReasonHandshake // TLS could not be agreed on

	// Mostly of what was under way.
	ReasonDrain      // the balancer stops, or leaves the address
	ReasonIdle       // nothing passed for too long
	ReasonUntaken    // the client took nothing of what was there for it
	ReasonNodeDown   // the node was marked down
	ReasonClientGone // the client left before the end, or its connection failed
	ReasonGaveWay    // others needed the place, and its source held most

	Reasons // how many there are
)

// reasons are what statistics, metrics and the access log call them, and what a client is told. Of those without
// a status nobody is told.
var reasons = [Reasons]struct {
	name   string
	status int
	text   string
}{
	ReasonBan:         {"ban", http.StatusTooManyRequests, "banned for repeated rate violations"},
	ReasonRate:        {"rate", http.StatusTooManyRequests, "connection rate limited"},
	ReasonFull:        {"full", http.StatusServiceUnavailable, "the balancer is full"},
	ReasonNoNode:      {"no_node", http.StatusServiceUnavailable, "no node is available"},
	ReasonWorkerFull:  {"worker_full", http.StatusServiceUnavailable, "the balancer is full"},
	ReasonPerSource:   {"per_source", http.StatusTooManyRequests, "too many connections from this address"},
	ReasonMessageRate: {"message_rate", http.StatusTooManyRequests, "rate limited"},
	ReasonBadRequest:  {"bad_request", http.StatusBadRequest, "malformed request"},
	ReasonTooLarge:    {"too_large", http.StatusRequestEntityTooLarge, "too long"},
	ReasonSlow:        {"slow", http.StatusRequestTimeout, "the request did not come in time"},
	ReasonSessionGone: {"session_gone", http.StatusNotFound, "the node of this session is gone or was restarted: initialize a new one"},
	ReasonBadReply:    {"bad_reply", http.StatusBadGateway, "the node answered with something that is not HTTP"},
	ReasonNodeLost:    {"node_lost", http.StatusBadGateway, "the node closed the connection before it answered"},
	ReasonNodeTimeout: {"node_timeout", http.StatusGatewayTimeout, "the node did not answer in time"},
	ReasonHandshake:   {name: "handshake"},
	ReasonDrain:       {"drain", http.StatusBadGateway, "the balancer stopped before the node answered"},
	ReasonIdle:        {name: "idle"},
	ReasonUntaken:     {name: "untaken"},
	ReasonNodeDown:    {"node_down", http.StatusBadGateway, "the node went down before it answered"},
	ReasonClientGone:  {name: "client_gone"},
	ReasonGaveWay:     {"gave_way", http.StatusServiceUnavailable, "the balancer is full: this address holds most, and others have none"},
}

func (r Reason) String() string {
	if r < 0 || r >= Reasons {
		return "unknown"
	}
	return reasons[r].name
}

// Told is the status of HTTP and the words that a client is refused with.
func (r Reason) Told() (status int, text string) { return reasons[r].status, reasons[r].text }

// ReasonCalled is the reason of a name.
func ReasonCalled(name string) (r Reason, ok bool) {
	for r = range Reasons {
		if reasons[r].name == name {
			return r, true
		}
	}
	return 0, false
}
