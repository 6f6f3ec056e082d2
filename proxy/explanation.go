package proxy

import "time"

// Outcome is what would become of a client or its request, and why.
type Outcome struct {
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"` // of a refusal: a key of RefusedStats
	// Nodes is where it would go: one, or any of several if chance decides.
	Nodes []string `json:"nodes"`
	Why   string   `json:"why"`
}

// Explanation is what would happen to a client that connected now.
type Explanation struct {
	Source string `json:"source"` // what the client counts as: an IPv4 address or an IPv6 /64
	// Listener is what Outcome is about: "tcp", or "http" without such a listener.
	Listener string `json:"listener"`
	Outcome

	// TrustedProxy says that an HTTP request of the address counts for the client that it names, and
	// ProxyProtocol that so does a connection.
	TrustedProxy  bool `json:"trusted_proxy"`
	ProxyProtocol bool `json:"proxy_protocol"`

	Exempt      bool         `json:"exempt"` // from limits and bans
	BannedUntil time.Time    `json:"banned_until,omitzero"`
	Violations  int          `json:"violations"`
	Connections int          `json:"connections"` // held now
	Sticky      string       `json:"sticky,omitempty"`
	Connection  RateState    `json:"connection_rate"`
	Message     RateState    `json:"message_rate"`
	Choices     []NodeChoice `json:"choices"`

	HTTP *HTTPExplanation `json:"http,omitempty"` // nil without an HTTP listener
}

// RateState is where a source stands with one of its rates.
type RateState struct {
	PerSecond int     `json:"per_second"` // 0 is no limit
	WaitMs    float64 `json:"wait_ms"`    // until the next one conforms; 0 is now
}

// NodeChoice is a node as the balance algorithm sees it.
type NodeChoice struct {
	Name        string  `json:"name"`
	Connections int64   `json:"connections"`
	Pledged     int64   `json:"pledged"` // see NodeStats; leastconn counts them as connections
	Max         int64   `json:"max_connections"`
	Weight      float64 `json:"weight"`
	Excluded    string  `json:"excluded,omitempty"` // why it cannot be chosen
}

// HTTPExplanation is what would happen to an HTTP request, without session and cookie, of a client on a new connection.
type HTTPExplanation struct {
	Outcome
	// Order is what decides about a request's node: the first of them that the request has.
	Order []string `json:"order"`
	// Message and Tools are the rates that bind its requests; a client that is exempt has none.
	Message MessageState `json:"message_rate"`
	Tools   []ToolState  `json:"tools,omitempty"`
}

// MessageState is where a source stands with the message rate over HTTP.
type MessageState struct {
	RateState
	Action Action `json:"action,omitempty"` // with a request over it; "" without a limit
}

// ToolState is where a source stands with the rate of a tool, which binds calls of the stateless era
// besides. Those over it are always rejected.
type ToolState struct {
	Name string `json:"name"`
	RateState
}

// What a tag is part of.
const (
	TagSession = "session"
	TagCookie  = "cookie"
)

// TagExplanation is which node a session id or cookie names, and what would become of a request with
// it.
type TagExplanation struct {
	Kind   string `json:"kind"`   // TagSession, TagCookie
	Tagged bool   `json:"tagged"` // it looks like one that a balancer made
	Node   string `json:"node,omitempty"`
	State  string `json:"state,omitempty"` // of the node
	// Kept is whether the request goes to that node. If not, one with a session is answered with Status,
	// unless that is 0: it then goes where one without would go.
	Kept   bool   `json:"kept"`
	Status int    `json:"status,omitempty"`
	Why    string `json:"why"`
}

// TagRequest asks about a tagged value.
type TagRequest struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}
