package main

import (
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
)

// server is one that is tried: its configuration is configs/NAME.yaml.
type server struct {
	name      string
	transport string // http or sse
	path      string // of the URL that clients get
	steps     []step
}

// A step is what a client does with a server, in a session of its own.
type step struct {
	Name      string         `json:"name"`
	Tool      string         `json:"tool,omitempty"`
	Arguments map[string]any `json:"arguments,omitempty"`
	Argument  string         `json:"argument,omitempty"` // of tool, takes the text of one of 50 calls
	URI       string         `json:"uri,omitempty"`      // of the resource that tool changes
	Wait      float64        `json:"wait,omitempty"`     // seconds before tool is called
	Witness   string         `json:"witness,omitempty"`  // tool that knows which calls were cancelled

	// Outlast has the client come back to a stream only when another call, begun behind the first, has ended: to a
	// stream that was resumed, some servers send nothing more.
	Outlast bool `json:"outlast,omitempty"`

	want string // regular expression: what the outcome straight at a node must match
}

func (s *server) chosenSteps() []step {
	var chosenOnes []step
	for _, step := range s.steps {
		if chosen(*onlyDo, step.Name) {
			chosenOnes = append(chosenOnes, step)
		}
	}
	return chosenOnes
}

// stepNames are the columns of the table.
var stepNames = []string{
	"list", "call", "progress", "sampling", "elicitation", "roots", "subscription",
	"cancellation", "deletion", "resumption", "parallel", "big", "silent", "idle",
}

// servers are all that are tried. A step that is not in the plan of a server is not offered by it. File is the URL
// of a file of 3.75 MB.
func servers(file string) []server {
	return []server{
		{"server-everything", "http", "/mcp", everything(file)},
		{"server-everything-sse", "sse", "/sse", without(everything(file), "deletion", "resumption")}, // not in this transport
		{"typescript-sdk", "http", "/mcp", ours("200, then 404")},
		{"go-sdk", "http", "/mcp", ours("204, then 404")},
		{"mcp-go", "http", "/mcp", ours("200, then 200")},
		{"fastmcp", "http", "/mcp", ours("200, then 404")},
		{"supergateway", "http", "/mcp", without(ours("200, then 404"), "resumption")},                    // keeps no events
		{"mcp-proxy", "http", "/mcp", without(ours("200, then 404"), "sampling", "elicitation", "roots")}, // one client for all
	}
}

func without(steps []step, names ...string) []step {
	return slices.DeleteFunc(steps, func(s step) bool { return slices.Contains(names, s.Name) })
}

// ours is the plan for servers with the tools of server.mjs. Deletion is what they answer to DELETE, and then to a
// request of that session.
func ours(deletion string) []step {
	work := func(seconds float64, steps int) map[string]any {
		return map[string]any{"seconds": seconds, "steps": steps}
	}
	return []step{
		{Name: "list", want: "^big cancelled echo elicit roots sample touch work$"},
		{Name: "call", Tool: "echo", Arguments: map[string]any{"text": "hello"}, want: "^hello$"},
		{Name: "progress", Tool: "work", Arguments: work(1, 5), want: "^(1/5 2/5 3/5 4/5 )?done$"},
		{Name: "sampling", Tool: "sample", want: "^a sampled answer$"},
		{Name: "elicitation", Tool: "elicit", want: "^accept Ada$"},
		{Name: "roots", Tool: "roots", want: "^file:///root/of/the/client$"},
		{Name: "subscription", Tool: "touch", URI: "test://watched", want: "^updated test://watched$"},
		{Name: "cancellation", Tool: "work", Arguments: work(15, 50), Witness: "cancelled", want: "^cancelled, seen by the server$"},
		{Name: "deletion", want: "^" + deletion + "$"},
		{Name: "resumption", Tool: "work", Arguments: work(2.5, 5), want: "^200, (done|context canceled)$"}, // mcp-go cancels what nobody hears
		{Name: "parallel", Tool: "echo", Argument: "text", want: "^50 of 50$"},
		{Name: "big", Tool: "big", Arguments: map[string]any{"bytes": 5_000_000}, want: "^5000000 characters"},
		{Name: "silent", Tool: "work", Arguments: work(silent.Seconds(), 1), want: "^done$"},
		{Name: "idle", Wait: silent.Seconds(), Tool: "touch", URI: "test://watched", want: "^updated test://watched$"},
	}
}

// everything is the plan for server-everything.
func everything(file string) []step {
	work := func(seconds float64, steps int) map[string]any {
		return map[string]any{"duration": seconds, "steps": steps}
	}
	const long = "trigger-long-running-operation"
	return []step{
		{Name: "list", want: "^echo .*" + long},
		{Name: "call", Tool: "echo", Arguments: map[string]any{"message": "hello"}, want: "^Echo: hello$"},
		{Name: "progress", Tool: long, Arguments: work(1, 5), want: "^(1/5 2/5 3/5 4/5 )?Long running operation completed"},
		{Name: "sampling", Tool: "trigger-sampling-request", Arguments: map[string]any{"prompt": "hello?"}, want: "a sampled answer"},
		{Name: "elicitation", Tool: "trigger-elicitation-request", want: "User provided the requested information"},
		{Name: "roots", Tool: "get-roots-list", want: "file:///root/of/the/client"},
		{Name: "subscription", Tool: "toggle-subscriber-updates", URI: "demo://resource/static/document/features.md", want: "^updated demo:"},
		{Name: "cancellation", Tool: long, Arguments: work(15, 50), want: "^cancelled$"},
		{Name: "deletion", want: "^200, then 400$"},
		{Name: "resumption", Tool: long, Arguments: work(0.5, 5), Outlast: true, want: "^200, Long running operation completed"},
		{Name: "parallel", Tool: "echo", Argument: "message", want: "^50 of 50$"},
		{Name: "big", Tool: "gzip-file-as-resource", Arguments: map[string]any{"data": file, "outputType": "resource"}, want: "^[0-9]{7} characters"},
		{Name: "silent", Tool: long, Arguments: work(silent.Seconds(), 1), want: "^Long running operation completed"},
		{Name: "idle", Wait: silent.Seconds(), Tool: "toggle-subscriber-updates", URI: "demo://resource/static/document/features.md", want: "^updated demo:"},
	}
}

// serveFile serves a file that cannot be compressed, for the tool of server-everything whose answer is as large as
// what it fetches, and returns its URL.
func serveFile() (url string, err error) {
	content := make([]byte, 3_750_000)
	random := rand.NewChaCha8([32]byte{})
	if _, err := random.Read(content); err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	handler := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(content) // the server reports what it has missed
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(handler)) }()
	return "http://" + l.Addr().String() + "/file", nil
}
