package node

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/cluster/node/internal/tools"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// newSDKServer returns the MCP server behind HTTP, with the tools that TCP clients get.
func newSDKServer(name, version string) *sdk.Server {
	server := sdk.NewServer(&sdk.Implementation{Name: "erlmcp", Version: version}, &sdk.ServerOptions{
		Capabilities: &sdk.ServerCapabilities{Tools: &sdk.ToolCapabilities{}},
		SetCacheable: func(_ context.Context, _ sdk.Request, c *sdk.Cacheable) { c.TTLMs = 300_000 },
	})
	server.AddReceivingMiddleware(onlyOffered)
	set := tools.New(name)
	for _, tool := range set.List() {
		t := &sdk.Tool{Name: tool.Name, Title: tool.Title, Description: tool.Description, InputSchema: tool.InputSchema}
		if tool.OutputSchema != nil {
			t.OutputSchema = tool.OutputSchema
		}
		server.AddTool(t, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return callTool(ctx, set, r.Params)
		})
	}
	return server
}

// onlyOffered is an sdk.Middleware that refuses what the SDK would answer though the node does not declare
// it, as with an empty list of prompts.
func onlyOffered(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
		switch feature, _, _ := strings.Cut(method, "/"); feature {
		case "prompts", "resources", "completion", "logging":
			return nil, &jsonrpc.Error{Code: mcp.CodeMethodNotFound, Message: fmt.Sprintf("unknown method %q", method)}
		}
		return next(ctx, method, r)
	}
}

func callTool(ctx context.Context, set *tools.Set, p *sdk.CallToolParamsRaw) (*sdk.CallToolResult, error) {
	members, delay, err := set.AppendCall([]byte{'{'}, p.Name, p.Arguments)
	if err != nil {
		return nil, err
	}
	result := resultOf(append(members, '}'))
	if delay > 0 {
		due := time.NewTimer(delay)
		defer due.Stop()
		select {
		case <-due.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return result, nil
}

// resultOf reads what a tool has made. It is JSON for sure, and may be long: so it is not decoded as a stranger's would be.
func resultOf(object []byte) *sdk.CallToolResult {
	result := new(sdk.CallToolResult)
	each(object, func(name string, value []byte) {
		switch name {
		case "content":
			contents, _ := rawjson.Array(value)
			for content, ok := contents.Next(); ok; content, ok = contents.Next() {
				each(content, func(name string, value []byte) {
					if name == "text" {
						text, _ := rawjson.String(value)
						result.Content = append(result.Content, &sdk.TextContent{Text: string(text)})
					}
				})
			}
		case "structuredContent":
			result.StructuredContent = json.RawMessage(value)
		case "isError":
			result.IsError = rawjson.Kind(value) == 't'
		}
	})
	return result
}

// each calls do for the members of an object.
func each(object []byte, do func(name string, value []byte)) {
	members, _ := rawjson.Object(object)
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		name, _ := rawjson.String(key)
		do(string(name), value)
	}
}
