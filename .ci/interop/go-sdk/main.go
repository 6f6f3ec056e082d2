// Command go-sdk is a server on the Go SDK: Streamable HTTP with sessions that can be resumed.
//
//	go-sdk PORT
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type arguments struct {
	Text    string  `json:"text,omitempty"`
	Bytes   int     `json:"bytes,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Steps   int     `json:"steps,omitempty"`
	Key     string  `json:"key,omitempty"`
}

func main() {
	server := mcp.NewServer(&mcp.Implementation{Name: "go-sdk", Version: "1"}, &mcp.ServerOptions{
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})
	var cancelled sync.Map // by key of a call of work
	tool := func(name string, call func(context.Context, *mcp.CallToolRequest, arguments) (string, error)) {
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(ctx context.Context, req *mcp.CallToolRequest, args arguments) (*mcp.CallToolResult, any, error) {
			text, err := call(ctx, req, args)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, err
		})
	}
	tool("echo", func(_ context.Context, _ *mcp.CallToolRequest, args arguments) (string, error) {
		return args.Text, nil
	})
	tool("big", func(_ context.Context, _ *mcp.CallToolRequest, args arguments) (string, error) {
		return strings.Repeat("0123456789", args.Bytes/10), nil
	})
	tool("work", func(ctx context.Context, req *mcp.CallToolRequest, args arguments) (string, error) {
		for i := range args.Steps {
			if token := req.Params.GetProgressToken(); token != nil {
				progress := &mcp.ProgressNotificationParams{ProgressToken: token, Progress: float64(i + 1), Total: float64(args.Steps)}
				if err := req.Session.NotifyProgress(ctx, progress); err != nil {
					return "", err
				}
			}
			select {
			case <-time.After(time.Duration(args.Seconds / float64(args.Steps) * float64(time.Second))):
			case <-ctx.Done():
				cancelled.Store(args.Key, true)
				return "", ctx.Err()
			}
		}
		return "done", nil
	})
	tool("cancelled", func(_ context.Context, _ *mcp.CallToolRequest, args arguments) (string, error) {
		_, ok := cancelled.Load(args.Key)
		return fmt.Sprint(ok), nil
	})
	tool("sample", func(ctx context.Context, req *mcp.CallToolRequest, _ arguments) (string, error) {
		question := &mcp.SamplingMessage{Role: "user", Content: &mcp.TextContent{Text: "hello?"}}
		answer, err := req.Session.CreateMessage(ctx, &mcp.CreateMessageParams{MaxTokens: 10, Messages: []*mcp.SamplingMessage{question}})
		if err != nil {
			return "", err
		}
		return answer.Content.(*mcp.TextContent).Text, nil
	})
	tool("elicit", func(ctx context.Context, req *mcp.CallToolRequest, _ arguments) (string, error) {
		schema := map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}}
		answer, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "your name?", RequestedSchema: schema})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(answer.Action, " ", answer.Content["name"]), nil
	})
	tool("roots", func(ctx context.Context, req *mcp.CallToolRequest, _ arguments) (string, error) {
		answer, err := req.Session.ListRoots(ctx, nil)
		if err != nil {
			return "", err
		}
		var uris []string
		for _, root := range answer.Roots {
			uris = append(uris, root.URI)
		}
		return strings.Join(uris, " "), nil
	})
	tool("touch", func(ctx context.Context, _ *mcp.CallToolRequest, _ arguments) (string, error) {
		return "touched", server.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: "test://watched"})
	})
	server.AddResource(&mcp.Resource{Name: "watched", URI: "test://watched"}, func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, Text: "watched"}}}, nil
	})

	http.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		EventStore: mcp.NewMemoryEventStore(nil),
	}))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
