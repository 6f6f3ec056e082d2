// Command mcp-go is a server on mcp-go: Streamable HTTP with sessions that can be resumed.
//
//	mcp-go PORT
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func main() {
	s := server.NewMCPServer("mcp-go", "1", server.WithResourceCapabilities(true, false), server.WithElicitation(), server.WithRoots())
	s.EnableSampling()
	var cancelled sync.Map // by key of a call of work
	tool := func(name string, call func(context.Context, mcp.CallToolRequest) (string, error), options ...mcp.ToolOption) {
		s.AddTool(mcp.NewTool(name, options...), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			text, err := call(ctx, req)
			if err != nil {
				return mcp.NewToolResultError(err.Error()), nil
			}
			return mcp.NewToolResultText(text), nil
		})
	}
	tool("echo", func(_ context.Context, req mcp.CallToolRequest) (string, error) {
		return req.GetString("text", ""), nil
	}, mcp.WithString("text"))
	tool("big", func(_ context.Context, req mcp.CallToolRequest) (string, error) {
		return strings.Repeat("0123456789", req.GetInt("bytes", 0)/10), nil
	}, mcp.WithNumber("bytes"))
	tool("work", func(ctx context.Context, req mcp.CallToolRequest) (string, error) {
		steps := req.GetInt("steps", 1)
		for i := range steps {
			// Before the wait: what is sent just before the answer, mcp-go may drop.
			if meta := req.Params.Meta; meta != nil && meta.ProgressToken != nil {
				progress := map[string]any{"progressToken": meta.ProgressToken, "progress": i + 1, "total": steps}
				if err := s.SendNotificationToClient(ctx, "notifications/progress", progress); err != nil {
					return "", err
				}
			}
			select {
			case <-time.After(time.Duration(req.GetFloat("seconds", 0) / float64(steps) * float64(time.Second))):
			case <-ctx.Done(): // also when the connection is gone
				cancelled.Store(req.GetString("key", ""), true)
				return "", ctx.Err()
			}
		}
		return "done", nil
	}, mcp.WithNumber("seconds"), mcp.WithNumber("steps"), mcp.WithString("key"))
	tool("cancelled", func(_ context.Context, req mcp.CallToolRequest) (string, error) {
		_, ok := cancelled.Load(req.GetString("key", ""))
		return fmt.Sprint(ok), nil
	}, mcp.WithString("key"))
	tool("sample", func(ctx context.Context, _ mcp.CallToolRequest) (string, error) {
		question := mcp.SamplingMessage{Role: mcp.RoleUser, Content: mcp.NewTextContent("hello?")}
		answer, err := s.RequestSampling(ctx, mcp.CreateMessageRequest{CreateMessageParams: mcp.CreateMessageParams{
			MaxTokens: 10, Messages: []mcp.SamplingMessage{question},
		}})
		if err != nil {
			return "", err
		}
		return mcp.GetTextFromContent(answer.Content), nil
	})
	tool("elicit", func(ctx context.Context, _ mcp.CallToolRequest) (string, error) {
		schema := map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}}
		answer, err := s.RequestElicitation(ctx, mcp.ElicitationRequest{Params: mcp.ElicitationParams{Message: "your name?", RequestedSchema: schema}})
		if err != nil {
			return "", err
		}
		content, _ := answer.Content.(map[string]any)
		return fmt.Sprint(answer.Action, " ", content["name"]), nil
	})
	tool("roots", func(ctx context.Context, _ mcp.CallToolRequest) (string, error) {
		answer, err := s.RequestRoots(ctx, mcp.ListRootsRequest{})
		if err != nil {
			return "", err
		}
		var uris []string
		for _, root := range answer.Roots {
			uris = append(uris, root.URI)
		}
		return strings.Join(uris, " "), nil
	})
	tool("touch", func(ctx context.Context, _ mcp.CallToolRequest) (string, error) {
		session := server.ClientSessionFromContext(ctx).SessionID()
		return "touched", s.SendNotificationToSpecificClient(session, "notifications/resources/updated", map[string]any{"uri": "test://watched"})
	})
	s.AddResource(mcp.NewResource("test://watched", "watched"), func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		return []mcp.ResourceContents{mcp.TextResourceContents{URI: "test://watched", Text: "watched"}}, nil
	})
	log.Fatal(server.NewStreamableHTTPServer(s, server.WithEventStore(server.NewInMemoryEventStore())).Start("127.0.0.1:" + os.Args[1]))
}
