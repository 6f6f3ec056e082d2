package master

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// overEachListener runs real workers in front of HTTP nodes, and a test over the plain listener and over the
// one with TLS. web verifies the certificate.
func overEachListener(t *testing.T, sites []string, test func(t *testing.T, base string, web *http.Client)) {
	t.Helper()
	dir := t.TempDir()
	pair := proxytest.WritePair(t, dir, "127.0.0.1")
	b := serve(t, proxytest.StartNodes(t, len(sites)), proxytest.WithTLS(dir, func(s *proxy.Spec) {
		s.Listen.HTTP = "127.0.0.1:0"
		s.Balance = proxy.BalanceRoundRobin
		for i, at := range sites {
			_, port, _ := net.SplitHostPort(at)
			s.Nodes[i].HTTP, _ = strconv.Atoi(port)
		}
	}))
	for i := range sites {
		b.eventuallyState(fmt.Sprintf("n%d", i), proxy.NodeUp)
	}
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) { test(t, scheme+"://"+b.address(scheme), proxytest.SecureBrowser(t, pair)) })
	}
}

// A node writes an event only when the client has the one before: nothing waits for more to come. The
// times from a node's writing to the first byte at the client are logged, not judged.
func TestEventsArriveOneByOne(t *testing.T) {
	const events = 50
	had, wrote := make(chan struct{}), make(chan time.Time, 1)
	site := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range events {
			wrote <- time.Now()
			fmt.Fprintf(w, "id: %d\ndata: {}\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-had:
			case <-r.Context().Done():
				return
			}
		}
	}
	var sites []string
	for range 4 {
		sites = append(sites, proxytest.StartSite(t, site))
	}
	overEachListener(t, sites, func(t *testing.T, base string, web *http.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var took []time.Duration
		seen := map[string]bool{}
		for len(seen) < len(sites) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/mcp", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := web.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			seen[resp.Header.Get("X-Served-By")] = true
			r := bufio.NewReader(resp.Body)
			for i := range events {
				first, err := r.ReadByte()
				took = append(took, time.Since(<-wrote))
				rest := make([]byte, len(fmt.Sprintf("d: %d\ndata: {}\n\n", i)))
				if err == nil {
					_, err = io.ReadFull(r, rest)
				}
				if got := string(first) + string(rest); err != nil || got != fmt.Sprintf("id: %d\ndata: {}\n\n", i) {
					t.Fatalf("event %d: %q, %v", i, got, err)
				}
				had <- struct{}{}
			}
			resp.Body.Close()
		}
		slices.Sort(took)
		t.Logf("%d events of %d nodes: median %v, p99 %v, longest %v", len(took), len(seen), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	})
}

// A stream is resumed on the node that has its events, and ones that were read are not sent again.
func TestResumeReachesTheNode(t *testing.T) {
	var sites []string
	for i := range 4 {
		sites = append(sites, proxytest.StartSite(t, teller(fmt.Sprintf("n%d", i)).ServeHTTP))
	}
	overEachListener(t, sites, resumed)
}

// teller is a node that keeps its events. Its tool tells three times how far it is, and then the name.
func teller(name string) http.Handler {
	server := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	sdk.AddTool(server, &sdk.Tool{Name: "tell"}, func(ctx context.Context, req *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		for n := range 3 {
			if err := req.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: "p", Progress: float64(n + 1)}); err != nil {
				return nil, nil, err
			}
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: name}}}, nil, nil
	})
	return sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server },
		&sdk.StreamableHTTPOptions{DisableLocalhostProtection: true, EventStore: sdk.NewMemoryEventStore(nil)})
}

// resumed reads streams, and resumes each behind its second event.
func resumed(t *testing.T, base string, web *http.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ask := func(method, session, last, body string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, base+"/mcp", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
		for name, value := range map[string]string{"Mcp-Session-Id": session, "Last-Event-ID": last} {
			if value != "" {
				req.Header.Set(name, value)
			}
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode/100 != 2 {
			text, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s with session %q after %q: %s %s", method, session, last, resp.Status, text)
		}
		return resp
	}
	seen := map[string]bool{}
	for range 8 {
		resp := ask(http.MethodPost, "", "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
		session := resp.Header.Get("Mcp-Session-Id")
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		ask(http.MethodPost, session, "", `{"jsonrpc":"2.0","method":"notifications/initialized"}`).Body.Close()
		resp = ask(http.MethodPost, session, "", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"tell","arguments":{},"_meta":{"progressToken":"p"}}}`)
		whole := eventsUntilAnswer(t, resp.Body)
		_, _ = io.Copy(io.Discard, resp.Body) // the node refuses to resume a stream that has not ended
		resp.Body.Close()
		at := slices.IndexFunc(whole, func(e sseEvent) bool { return strings.Contains(e.data, `"progress":2`) })
		if at < 0 || whole[at].id == "" {
			t.Fatalf("events are %+v", whole)
		}
		resp = ask(http.MethodGet, session, whole[at].id, "")
		again := eventsUntilAnswer(t, resp.Body)
		resp.Body.Close()
		if !slices.Equal(again, whole[at+1:]) {
			t.Errorf("resumed after %q: %+v, want %+v", whole[at].id, again, whole[at+1:])
		}
		var answer struct {
			Result struct{ Content []struct{ Text string } }
		}
		if err := json.Unmarshal([]byte(whole[len(whole)-1].data), &answer); err != nil || len(answer.Result.Content) != 1 {
			t.Fatalf("%+v, %v", whole, err)
		}
		ask(http.MethodDelete, session, "", "").Body.Close()
		seen[answer.Result.Content[0].Text] = true
	}
	if len(seen) < 2 {
		t.Errorf("all sessions were on %v", seen)
	}
}

type sseEvent struct{ id, data string }

// eventsUntilAnswer reads up to the answer to request 2, which is the last.
func eventsUntilAnswer(t *testing.T, r io.Reader) (events []sseEvent) {
	t.Helper()
	var e sseEvent
	for s := bufio.NewScanner(r); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ": ")
		switch {
		case name == "id":
			e.id = value
		case name == "data":
			e.data = value
		case s.Text() == "" && e.data != "":
			events = append(events, e)
			if strings.Contains(e.data, `"id":2`) {
				return events
			}
			e = sseEvent{}
		}
	}
	t.Fatalf("the stream ended after %+v", events)
	return nil
}
