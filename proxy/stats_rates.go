package proxy

import "time"

// Rates is how fast things went within the last second.
type Rates struct {
	Connections  float64 `json:"connections_per_s"` // new ones
	Messages     float64 `json:"messages_per_s"`    // from clients
	BytesIn      float64 `json:"bytes_in_per_s"`
	BytesOut     float64 `json:"bytes_out_per_s"`
	Errors       float64 `json:"errors_per_s"`        // connect errors and resets
	Requests     float64 `json:"requests_per_s"`      // HTTP requests: of clients, or sent to a node
	ClientErrors float64 `json:"client_errors_per_s"` // HTTP responses 4xx
	ServerErrors float64 `json:"server_errors_per_s"` // HTTP responses 5xx
	Refused      float64 `json:"refused_per_s"`       // of the balancer as a whole; 0 for a node
}

// ratesBetween divides what a node has done since an earlier look by the time between.
func ratesBetween(before, now *NodeStats, elapsed time.Duration) Rates {
	return Rates{
		Connections:  growth(before.Total, now.Total, elapsed),
		Messages:     growth(before.Messages, now.Messages, elapsed),
		BytesIn:      growth(before.BytesIn, now.BytesIn, elapsed),
		BytesOut:     growth(before.BytesOut, now.BytesOut, elapsed),
		Errors:       growth(before.ConnectErrors+before.Resets, now.ConnectErrors+now.Resets, elapsed),
		Requests:     growth(before.Requests, now.Requests, elapsed),
		ClientErrors: growth(before.Responses.ClientError, now.Responses.ClientError, elapsed),
		ServerErrors: growth(before.Responses.ServerError, now.Responses.ServerError, elapsed),
	}
}

// growth is the increase a second of a counter. One that went back began anew.
func growth(before, now uint64, elapsed time.Duration) float64 {
	if elapsed <= 0 || now < before {
		return 0
	}
	return float64(now-before) / elapsed.Seconds()
}

// Total is how many clients were turned away.
func (r *RefusedStats) Total() uint64 {
	return r.Ban + r.Rate + r.Full + r.NoNode + r.WorkerFull + r.PerSource
}
