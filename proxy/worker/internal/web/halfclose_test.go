package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// departures is a site that answers a request when it is released, and says when a client has left one:
// servers take the end of the stream for that.
func departures(t *testing.T, head string) (address string, asked, gone, release chan struct{}) {
	asked, gone, release = make(chan struct{}, 10), make(chan struct{}, 10), make(chan struct{})
	return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if head != "" {
			w.Header().Set("Content-Type", head)
			_ = http.NewResponseController(w).Flush()
		}
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
			gone <- struct{}{}
		case <-release:
			_, _ = io.WriteString(w, "hi")
		}
	}), asked, gone, release
}

// Who ends the stream behind a request gets the answer, and its node hears nothing of that.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	const old = "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"
	for _, test := range []struct {
		name, asked, head string
		probed            bool // the client waits until it is asked
	}{
		{"get", proxytest.GetRequest, "", false},
		{"post", proxytest.PostRequest, "", false},
		{"two posts", proxytest.PostRequest + proxytest.PostRequest, "", false},
		{"old", old, "", false},
		{"headed", proxytest.PostRequest, "text/plain", false},
		{"events", proxytest.PostRequest, "text/event-stream", false},
		{"long call", proxytest.PostRequest, "", true},
	} {
		for _, at := range []string{"http", "https"} {
			t.Run(test.name+" over "+at, func(t *testing.T) {
				t.Parallel()
				address, asked, gone, release := departures(t, test.head)
				b := startWorker(t, []string{address}, nil)
				c := b.Visit()
				var w io.Writer = c
				end := c.CloseWrite
				if at == "https" {
					conn := b.secureDial(proxytest.Trusting(proxytest.LocalPair()))
					c.Reader, w, end = bufio.NewReader(conn), conn, conn.CloseWrite
				}
				if _, err := io.WriteString(w, test.asked); err != nil {
					t.Fatal(err)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				<-asked
				b.Eventually("the end of the stream", func() (ended bool) {
					b.On(func() {
						for c := b.http.clients; c != nil; c = c.next {
							ended = ended || c.ended
						}
					})
					return ended
				})
				if test.probed {
					if head, err := proxytest.ReadHead(c.Reader); err != nil || head != probe {
						t.Fatalf("%q, %v", head, err)
					}
				}
				close(release)
				for range strings.Count(test.asked, "POST") + strings.Count(test.asked, "GET") {
					if _, got := c.Answer("POST"); got != "hi" {
						t.Fatal(got)
					}
				}
				c.Ended()
				if len(gone) > 0 {
					t.Error("the node takes its client for gone")
				}
			})
		}
	}
}

// A client that has gone takes its request along, whether it left before the head of the response or
// within an event stream, and whether its kernel said so with a reset or with a mere end.
func TestDepartureReachesTheNode(t *testing.T) {
	for _, head := range []string{"", "text/event-stream", "text/plain"} {
		t.Run(fmt.Sprintf("head %q", head), func(t *testing.T) {
			t.Parallel()
			address, asked, gone, _ := departures(t, head)
			b := startWorker(t, []string{address}, nil)
			c := b.Visit()
			c.Say(proxytest.PostRequest)
			<-asked
			if head != "" {
				if _, err := proxytest.ReadHead(c.Reader); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			select {
			case <-gone:
			case <-time.After(time.Minute):
				t.Fatal("the node does not learn that its client has gone")
			}
		})
	}
}

// The end of the question does not put off the end of patience.
func TestHalfClosedClientIsNotAwaitedForEver(t *testing.T) {
	address, asked, gone, _ := departures(t, "")
	b := startWorker(t, []string{address}, func(s *proxy.Spec) { s.Timeouts.Response = askAfter + time.Second })
	c := b.Visit()
	c.Say(proxytest.PostRequest)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-asked
	if head, err := proxytest.ReadHead(c.Reader); err != nil || head != probe {
		t.Fatalf("%q, %v", head, err)
	}
	c.Denied(http.StatusGatewayTimeout)
	<-gone
}

// Interim responses pass, however many there are.
func TestInterimResponses(t *testing.T) {
	const hints, working = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\n"
	const many = 5000
	answer := strings.Repeat(hints+working, many) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	for _, asked := range []string{proxytest.GetRequest, proxytest.PostRequest, "GET / HTTP/1.0\r\n\r\n"} {
		b := startWorker(t, []string{proxytest.StartScript(t, answer).Address()}, nil)
		c := b.Visit()
		c.Say(asked)
		if !strings.Contains(asked, "1.0") {
			got := make([]byte, len(hints+working)*many)
			if _, err := io.ReadFull(c.Reader, got); err != nil || string(got) != strings.Repeat(hints+working, many) {
				t.Fatalf("%.200q …, %v", got, err)
			}
		}
		if _, got := c.Answer("GET"); got != "hi" {
			t.Fatal(got)
		}
	}
}

// A client that takes no interim responses is not sent more and more, and a node that goes on with them
// has not been silent.
func TestInterimResponsesOfALongCall(t *testing.T) {
	release := make(chan struct{})
	n := proxytest.StartNode(t, "", func(c *net.TCPConn) {
		if _, err := proxytest.ReadHead(bufio.NewReader(c)); err != nil {
			return
		}
		for working := true; working; {
			select {
			case <-release:
				working = false
			case <-time.After(50 * time.Millisecond):
			}
			if _, err := io.WriteString(c, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000)); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	})
	const patience = time.Second
	b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Timeouts.Response = patience })
	c := b.Visit()
	c.Say(proxytest.GetRequest)
	for until := time.Now().Add(2 * patience); time.Now().Before(until); {
		if head, err := proxytest.ReadHead(c.Reader); err != nil || !strings.HasPrefix(head, "HTTP/1.1 102") {
			t.Fatalf("%q, %v", head, err)
		}
	}
	close(release)
	for {
		head, err := proxytest.ReadHead(c.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(head, "HTTP/1.1 200") {
			return
		}
	}
}
