package work

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type search struct {
	Query   string `json:"query"`
	Page    int    `json:"page,omitempty"`
	Request string `json:"request,omitempty"`
}

// exampleServer has what the scenario in the documentation asks for, and a tool that says no.
func exampleServer() *sdk.Server {
	server := sdk.NewServer(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ServerOptions{
		CompletionHandler: func(context.Context, *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
			return &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: []string{"x"}}}, nil
		},
	})
	sdk.AddTool(server, &sdk.Tool{Name: "search"}, func(_ context.Context, _ *sdk.CallToolRequest, in search) (*sdk.CallToolResult, any, error) {
		return &sdk.CallToolResult{IsError: in.Query == "no", Content: []sdk.Content{&sdk.TextContent{Text: in.Query}}}, nil, nil
	})
	server.AddPrompt(&sdk.Prompt{Name: "greet", Arguments: []*sdk.PromptArgument{{Name: "who"}}},
		func(context.Context, *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
			return &sdk.GetPromptResult{}, nil
		})
	server.AddResourceTemplate(&sdk.ResourceTemplate{Name: "file", URITemplate: "file:///{name}.txt"},
		func(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
			return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: r.Params.URI, Text: "x"}}}, nil
		})
	return server
}

// exchange sends a request and returns the line that answers it.
type exchange func(t *testing.T, request []byte, about Request) []byte

// inSession talks over a connection, in the session era.
func inSession(t *testing.T) exchange {
	ours, theirs := net.Pipe()
	if err := ours.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := exampleServer().Run(ctx, &sdk.IOTransport{Reader: theirs, Writer: theirs}); err != nil && ctx.Err() == nil {
			t.Errorf("the server: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); ours.Close(); <-done })
	replies := bufio.NewReader(ours)
	send := func(t *testing.T, request []byte) {
		t.Helper()
		if _, err := ours.Write(request); err != nil {
			t.Fatal(err)
		}
	}
	talk := func(t *testing.T, request []byte, _ Request) []byte {
		t.Helper()
		send(t, request)
		line, err := replies.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	if line := talk(t, AppendInitialize(nil, 1), Request{}); !bytes.Contains(line, []byte(mcp.LatestSessionVersion)) {
		t.Fatalf("initialize: %s", line)
	}
	send(t, AppendInitialized(nil))
	return talk
}

// stateless talks over HTTP, in the stateless era.
func stateless(t *testing.T) exchange {
	server := exampleServer()
	web := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server },
		&sdk.StreamableHTTPOptions{Stateless: true, JSONResponse: true}))
	t.Cleanup(web.Close)
	return func(t *testing.T, request []byte, about Request) []byte {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL, bytes.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		r.Header.Set(mcp.HeaderProtocolVersion, mcp.Version20260728)
		r.Header.Set(mcp.HeaderMethod, about.Method)
		if about.Name != "" {
			r.Header.Set(mcp.HeaderName, about.HeaderName())
		}
		answer, err := web.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		line, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
}

// The scenario in the documentation is one that servers of both eras answer, each step of it as often as it says.
func TestExampleRuns(t *testing.T) {
	for era, begin := range map[mcp.Era]func(*testing.T) exchange{mcp.SessionEra: inSession, mcp.StatelessEra: stateless} {
		t.Run(era.String(), func(t *testing.T) {
			w := example(t)
			if w.Era = era; era == mcp.StatelessEra {
				w.Session = Session{}
			}
			s, err := w.Compile()
			if err != nil {
				t.Fatal(err)
			}
			talk := begin(t)
			asked := make(map[string]int)
			for n := range int64(24) {
				step := s.Next()
				asked[s.StepName(step)]++
				id := ID(n, step)
				request, about := s.As(int(n)).AppendStep(nil, step, id)
				line := talk(t, request, about)
				if r := s.Parse(line); r.Kind != ask.ReplyAnswer || r.ID != id {
					t.Errorf("%s is answered %s", request, line)
				}
			}
			for _, p := range w.Steps {
				if asked[p.Name] != 2*p.Weight {
					t.Errorf("%s was asked %d times in two turns, want %d", p.Name, asked[p.Name], 2*p.Weight)
				}
			}
		})
	}
}

func TestServersSayNo(t *testing.T) {
	talk := inSession(t)
	for args, want := range map[string]ask.Cause{`{"query":"no"}`: ask.CauseTool, `{"query":7}`: ask.CauseTool, `{"query":"yes"}`: ask.CauseNone} {
		w, err := FromTool("search", args)
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.Compile()
		if err != nil {
			t.Fatal(err)
		}
		line := talk(t, first(s), Request{})
		if got := s.Parse(line).Cause(); got != want {
			t.Errorf("%s: %s, want %s", strings.TrimSpace(string(line)), got, want)
		}
	}
}

// first is the first request of a script.
func first(s *Script) []byte {
	line, _ := s.AppendStep(nil, s.Next(), ID(0, 0))
	return line
}
