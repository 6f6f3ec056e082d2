// Command client has the Go SDK's client do the steps of a plan, each in a session of its own, and prints a line
// of JSON with the outcome of each.
//
//	client '{"url": …, "transport": "http"|"sse", "steps": [{"name": …}, …]}'
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const patience = 60 * time.Second

type plan struct {
	URL       string
	Transport string
	Steps     []step
}

type step struct {
	Name      string
	Tool      string
	Arguments map[string]any
	Argument  string // that takes the text of a call
	URI       string
	Wait      float64 // seconds before the tool is called
	Witness   string  // tool that knows what was cancelled
	Outlast   bool    // resume when another call has ended
}

func main() {
	var p plan
	if err := json.Unmarshal([]byte(os.Args[1]), &p); err != nil {
		log.Fatal(err)
	}
	for _, step := range p.Steps {
		outcome, err := p.do(step)
		if err != nil {
			outcome = "error: " + err.Error()
		}
		line, err := json.Marshal(map[string]string{"step": step.Name, "outcome": outcome})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	}
}

// do does one step in a session of its own.
func (p *plan) do(step step) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience+seconds(step))
	defer cancel()
	s, err := open(ctx, p)
	if err != nil {
		return "", err
	}
	defer s.Close()
	do, ok := steps[step.Name]
	if !ok {
		return "", errors.New("unknown step")
	}
	return do(ctx, s, step)
}

// plainStep calls a tool without further ado.
func plainStep(tool string) step { return step{Tool: tool} }

// seconds is how long the server works on the step, or the client waits in it.
func seconds(step step) time.Duration {
	if step.Wait > 0 {
		return time.Duration(step.Wait * float64(time.Second))
	}
	for _, name := range []string{"seconds", "duration"} {
		if n, ok := step.Arguments[name].(float64); ok {
			return time.Duration(n * float64(time.Second))
		}
	}
	return 0
}

type session struct {
	*mcp.ClientSession
	url      string
	wire     *wire
	progress chan string // "1/5", one a notification
	updated  chan string // URIs
}

func open(ctx context.Context, p *plan) (*session, error) {
	s := &session{url: p.URL, wire: newWire(), progress: make(chan string, 1000), updated: make(chan string, 1000)}
	client := mcp.NewClient(&mcp.Implementation{Name: "go", Version: "1"}, &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			return &mcp.CreateMessageResult{Role: "assistant", Model: "m", Content: &mcp.TextContent{Text: "a sampled answer"}}, nil
		},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
			s.progress <- fmt.Sprintf("%v/%v", req.Params.Progress, req.Params.Total)
		},
		ResourceUpdatedHandler: func(_ context.Context, req *mcp.ResourceUpdatedNotificationRequest) {
			s.updated <- req.Params.URI
		},
	})
	client.AddRoots(&mcp.Root{Name: "r", URI: "file:///root/of/the/client"})
	httpClient := &http.Client{Transport: s.wire}
	var transport mcp.Transport = &mcp.StreamableClientTransport{Endpoint: p.URL, HTTPClient: httpClient}
	if p.Transport == "sse" {
		transport = &mcp.SSEClientTransport{Endpoint: p.URL, HTTPClient: httpClient}
	}
	var err error
	// The era of sessions: in the other one a server asks nothing, and nothing is resumed or deleted.
	s.ClientSession, err = client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		return nil, err
	}
	select {
	case <-s.wire.listening:
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, errors.New("no stream for the server's messages")
	}
}

// call calls the tool of a step, with more arguments, and returns the text of the answer.
func (s *session) call(ctx context.Context, step step, more map[string]any) (string, error) {
	params := &mcp.CallToolParams{Name: step.Tool, Arguments: merge(step.Arguments, more)}
	if step.Name == "progress" || step.Name == "cancellation" || step.Name == "resumption" {
		params.SetProgressToken(rand.Text())
	}
	result, err := s.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	var text string
	switch content := result.Content[0].(type) {
	case *mcp.TextContent:
		text = content.Text
	case *mcp.EmbeddedResource:
		text = string(content.Resource.Blob)
	}
	if result.IsError {
		return "", errors.New(text)
	}
	return text, nil
}

func merge(a, b map[string]any) map[string]any {
	all := map[string]any{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

func plainCall(ctx context.Context, s *session, step step) (string, error) {
	return s.call(ctx, step, nil)
}

// update waits for the update of a resource that a call has caused.
func update(ctx context.Context, s *session, step step) (string, error) {
	if err := s.Subscribe(ctx, &mcp.SubscribeParams{URI: step.URI}); err != nil {
		return "", err
	}
	time.Sleep(seconds(step))
	if _, err := s.call(ctx, step, nil); err != nil {
		return "", err
	}
	select {
	case uri := <-s.updated:
		return "updated " + uri, nil
	case <-ctx.Done():
		return "", errors.New("no update")
	}
}

var steps = map[string]func(context.Context, *session, step) (string, error){
	"list": func(ctx context.Context, s *session, _ step) (string, error) {
		var names []string
		for tool, err := range s.Tools(ctx, nil) {
			if err != nil {
				return "", err
			}
			names = append(names, tool.Name)
		}
		slices.Sort(names)
		return strings.Join(names, " "), nil
	},
	"call":         plainCall,
	"sampling":     plainCall,
	"elicitation":  plainCall,
	"roots":        plainCall,
	"silent":       plainCall,
	"subscription": update,
	"idle":         update,
	"progress": func(ctx context.Context, s *session, step step) (string, error) {
		done, err := s.call(ctx, step, nil)
		if err != nil {
			return "", err
		}
		var seen []string
		for range 4 { // of 5: the TypeScript client may miss the last one
			select {
			case progress := <-s.progress:
				seen = append(seen, progress)
			case <-ctx.Done():
				return "", fmt.Errorf("no progress after %q", seen)
			}
		}
		return strings.Join(append(seen, done), " "), nil
	},
	"cancellation": func(ctx context.Context, s *session, step step) (string, error) {
		callCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-s.progress:
				cancel()
			case <-callCtx.Done():
			}
		}()
		key := map[string]any{"key": rand.Text()}
		args := key
		if step.Witness == "" {
			args = nil
		}
		if _, err := s.call(callCtx, step, args); !errors.Is(err, context.Canceled) {
			return "", fmt.Errorf("not cancelled: %v", err)
		}
		if step.Witness == "" {
			return "cancelled", nil
		}
		witness := plainStep(step.Witness)
		for range 400 {
			seen, err := s.call(ctx, witness, key)
			if err != nil {
				return "", err
			}
			if seen == "true" {
				return "cancelled, seen by the server", nil
			}
			time.Sleep(50 * time.Millisecond)
		}
		return "cancelled, not seen by the server", nil
	},
	"deletion": func(ctx context.Context, s *session, _ step) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
		if err != nil {
			return "", err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Mcp-Session-Id", s.ID())
		req.Header.Set("Mcp-Protocol-Version", s.InitializeResult().ProtocolVersion)
		if err := s.Close(); err != nil {
			return "", err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		resp.Body.Close()
		return fmt.Sprintf("%d, then %d", s.wire.status(http.MethodDelete), resp.StatusCode), nil
	},
	"resumption": func(ctx context.Context, s *session, step step) (string, error) {
		s.wire.cutNext()
		if step.Outlast {
			s.wire.beforeResumption = func(ctx context.Context) error {
				_, err := s.call(ctx, step, nil)
				return err
			}
		}
		done, err := s.call(ctx, step, nil)
		if err != nil {
			done = err.Error()
		}
		return fmt.Sprintf("%d, %s", s.wire.status("resumed"), done), nil
	},
	"parallel": func(ctx context.Context, s *session, step step) (string, error) {
		var right int
		var wrong string
		var mu sync.Mutex
		var calls sync.WaitGroup
		for i := range 50 {
			calls.Go(func() {
				want := fmt.Sprint("text ", i)
				got, err := s.call(ctx, step, map[string]any{step.Argument: want})
				mu.Lock()
				defer mu.Unlock()
				if err == nil && strings.HasSuffix(got, want) {
					right++
				} else {
					wrong = fmt.Sprintf(", %s %v", got, err)
				}
			})
		}
		calls.Wait()
		return fmt.Sprintf("%d of 50%s", right, wrong), nil
	},
	"big": func(ctx context.Context, s *session, step step) (string, error) {
		text, err := s.call(ctx, step, nil)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d characters %.6x", len(text), sha256.Sum256([]byte(text))), nil
	},
}
