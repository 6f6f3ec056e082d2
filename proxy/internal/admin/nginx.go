package admin

import (
	"fmt"
	"net/http"
)

// serveNginxStatus answers in the form of nginx's stub_status, for monitors that read it.
//
// Accepts are the connections of clients to all listeners, and handled those that a worker had room for.
// Requests are what the statistics call messages: HTTP requests that the limits let through, and
// messages over TCP and WebSockets; each message of a batch is one. Whether a connection is in the
// middle of a request is not known: all of them wait.
func serveNginxStatus(b Balancer) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s, messages := b.Counts()
		handled := s.Connections.Total - min(s.Connections.Total, s.Refused.WorkerFull)
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprintf(w, "Active connections: %d \nserver accepts handled requests\n %d %d %d \nReading: %d Writing: %d Waiting: %d \n",
			s.Connections.Active, s.Connections.Total, handled, messages, 0, 0, s.Connections.Active)
	}
}
