package mcp

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestRequestsAreLinesOfJSON(t *testing.T) {
	const id = 1<<63 - 1
	for _, c := range []struct {
		line      []byte
		method    string
		stateless bool
	}{
		{AppendPing(nil, id), MethodPing, false},
		{AppendDiscover(nil, id), MethodDiscover, true},
		{AppendToolCall(nil, id, "whoami", SessionEra), MethodCallTool, false},
		{AppendToolCall(nil, id, "whoami", StatelessEra), MethodCallTool, true},
		{appendInitialize(nil, id, LatestSessionVersion), MethodInitialize, false},
		{appendInitialized(nil), MethodInitialized, false},
	} {
		if n := strings.Count(string(c.line), "\n"); n != 1 || c.line[len(c.line)-1] != '\n' {
			t.Errorf("%q is not one line", c.line)
		}
		var m Envelope
		if err := json.Unmarshal(c.line, &m); err != nil {
			t.Errorf("%q: %v", c.line, err)
		}
		if m.JSONRPC != "2.0" || m.Method != c.method || c.method != MethodInitialized && string(m.ID) != "9223372036854775807" {
			t.Errorf("%q: %+v", c.line, m)
		}
		var params struct {
			Meta map[string]json.RawMessage `json:"_meta"`
		}
		if m.Params != nil {
			if err := json.Unmarshal(m.Params, &params); err != nil {
				t.Errorf("%q: %v", c.line, err)
			}
		}
		if got := string(params.Meta[MetaProtocolVersion]); (got == `"2026-07-28"`) != c.stateless || c.stateless != (params.Meta[MetaClientCapabilities] != nil) {
			t.Errorf("%q: _meta %s", c.line, params.Meta)
		}
	}
}

func TestRequestsDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		dst = AppendPing(dst[:0], math.MaxUint64)
		dst = AppendDiscover(dst, 1)
		dst = AppendToolCall(dst, 2, "whoami", StatelessEra)
		dst = appendInitialize(dst, 3, LatestSessionVersion)
		dst = appendInitialized(dst)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestVersions(t *testing.T) {
	for i, v := range Versions {
		if !Known(v) || i > 0 && Versions[i-1] <= v {
			t.Errorf("%s is out of order", v)
		}
		if got := EraOf(v); (got == StatelessEra) != (v == LatestVersion) {
			t.Errorf("%s is of the %v era", v, got)
		}
	}
	for version, era := range map[string]string{
		"": "session", "2025-11-25": "session", "2026-07-28": "stateless", "2027-01-01": "stateless",
		"DRAFT-2026-v1": "session", "draft": "session", "2026-07-28 ": "session", "2026/07/28": "session", "2026-0a-28": "session",
	} {
		if got := EraOf(version).String(); got != era {
			t.Errorf("%q is of the %s era, want %s", version, got, era)
		}
	}
	if Known("2026-01-01") || Known("") {
		t.Error("knows a revision that is none")
	}
}

// appendInitialize appends the first request of a session.
func appendInitialize(dst []byte, id uint64, version string) []byte {
	dst = strconv.AppendUint(append(dst, head...), id, 10)
	dst = append(dst, `,"method":"initialize","params":{"protocolVersion":"`...)
	dst = append(dst, version...)
	return append(dst, `","capabilities":{},"clientInfo":{"name":"erlmcp","version":"1"}}}`+"\n"...)
}

// appendInitialized appends the notification that follows initialize's reply.
func appendInitialized(dst []byte) []byte {
	return append(dst, `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n"...)
}
