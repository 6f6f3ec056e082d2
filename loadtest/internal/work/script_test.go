package work

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

// compileOne makes a script of one step, at a fixed time.
func compileOne(t testing.TB, w Work, method, params string) *Script {
	t.Helper()
	w.Steps = []Step{{Name: "step", Method: method, Params: json.RawMessage(params), Weight: 1}}
	s, err := w.Compile()
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return time.UnixMilli(1785230999123) }
	return s
}

// params are those of the next request.
func (s *Script) params(t testing.TB) string {
	t.Helper()
	line, _ := s.AppendStep(nil, s.Next(), 7)
	var m mcp.Envelope
	if err := json.Unmarshal(line, &m); err != nil || string(m.ID) != "7" || m.JSONRPC != "2.0" || m.Method != s.steps[0].Method || line[len(line)-1] != '\n' {
		t.Fatalf("%s: %v", line, err)
	}
	return string(m.Params)
}

func TestPlaceholders(t *testing.T) {
	w := Work{
		Files: map[string][]byte{"f": []byte("\ufeffa\r\n\nb\"\\\n\xff\x00\u2028")},
		Share: Share{Index: 1, Of: 3, FirstClient: 10, Seed: 5},
	}
	for _, c := range []struct{ text, want string }{
		{"plain", `"plain" "plain"`},
		{"{{$counter}}", "2 5 8"},
		{"{{$counter 1000}}", "1001 1004"},
		{"{{ $counter text }}", `"2" "5"`},
		{"n{{$counter}}/{{$counter 0}}", `"n2/1" "n5/4"`},
		{"{{$int 3 3}}", "3 3"},
		{"{{$int -3 -3 text}}", `"-3"`},
		{"{{$client}}", "11 11"},
		{"{{$now}}", "1785230999123"},
		{"{{$now rfc3339}}", `"2026-07-28T09:29:59.123Z"`},
		{"{{$line f}}", `"b\"\\" "\ufffd\u0000\u2028" "a" "b\"\\"`}, // in steps of three
		{"{{$line f}}{{$line f}}", `"b\"\\b\"\\" "\ufffd\u0000\u2028\ufffd\u0000\u2028"`},
		{"{{$$counter}} {{name}} ${HOME} {{ $$$x {$", `"{{$counter}} {{name}} ${HOME} {{ $$x {$" "{{$counter}} {{name}} ${HOME} {{ $$x {$"`},
	} {
		w := w
		if strings.Contains(c.text, "line") {
			w.Share.Of = 4 // of three lines each agent takes the next one in turn
		}
		s := compileOne(t, w, "x", string(mustJSON(t, map[string]string{"v": c.text})))
		var got []string
		for range strings.Count(c.want, " ") + 1 {
			p := s.params(t)
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(p, `{"v":`), "}"))
		}
		if joined := strings.Join(got, " "); !strings.HasPrefix(joined, c.want) {
			t.Errorf("%s: %s, want %s", c.text, joined, c.want)
		}
	}
	s := compileOne(t, w, "x", `{"u":"{{$uuid}}","h":"{{$hex 17}}","i":"{{$int -1 2}}","r":"{{$randomline f}}","{{$key}}":1}`)
	form := regexp.MustCompile(`^\{"u":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}","h":"[0-9a-f]{17}","i":(-1|0|1|2),"r":"(a|b.*|\\ufffd.*)","\{\{\$key\}\}":1\}$`)
	seen := make(map[string]bool)
	for range 100 {
		p := s.params(t)
		if !form.MatchString(p) {
			t.Errorf("%s", p)
		}
		seen[p] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d of 100 requests differ", len(seen))
	}
}

// Agents with one seed count different numbers, and draw different values; the same agent asks the same again.
func TestShares(t *testing.T) {
	counted := make(map[string]int)
	drawn := make(map[string]int)
	for _, index := range []int{0, 1, 2, 2} {
		w := Work{Share: Share{Index: index, Of: 3, Seed: 1}}
		s := compileOne(t, w, "x", `{"v":["{{$counter}}"]}`)
		for range 100 {
			counted[s.params(t)]++
		}
		drawn[compileOne(t, w, "x", `{"v":"{{$uuid}}"}`).params(t)]++
	}
	twice := 0
	for n := 1; n <= 300; n++ {
		switch counted[fmt.Sprintf(`{"v":[%d]}`, n)] {
		case 1:
		case 2:
			twice++
		default:
			t.Errorf("nobody counted %d", n)
		}
	}
	if len(counted) != 300 || twice != 100 || len(drawn) != 3 {
		t.Errorf("%d numbers, %d of them twice, %d UUIDs", len(counted), twice, len(drawn))
	}
}

func TestClients(t *testing.T) {
	s := compileOne(t, Work{Share: Share{FirstClient: 100}}, "x", `{"v":"{{$client}}"}`)
	if got := s.As(7).params(t) + s.params(t) + s.As(0).params(t); got != `{"v":108}{"v":108}{"v":101}` {
		t.Error(got)
	}
}

// The name of what is asked for stands beside the request, as it is in it, and is always a text.
func TestNames(t *testing.T) {
	w := Work{Files: map[string][]byte{"f": []byte("é\"\n")}}
	for _, c := range []struct{ method, params, name, header, sent string }{
		{"tools/call", `{"name":"echo","arguments":{"name":"x","uri":"y"}}`, "echo", "echo", ""},
		{"tools/call", `{"name":"x","n\u0061me":"echo"}`, "echo", "echo", ""},
		{"tools/call", `{"arguments":{},"name":"{{$counter}}"}`, "1", "1", `{"arguments":{},"name":"1"}`},
		{"prompts/get", `{"name":"a {{$$b"}`, "a {{$b", "a {{$b", `{"name":"a {{$b"}`},
		{"prompts/get", `{"name":" a"}`, " a", "=?base64?IGE=?=", ""},
		{"resources/read", `{"uri":"file:///{{$line f}}","name":"x"}`, "file:///é\"", "=?base64?ZmlsZTovLy/DqSI=?=", `{"uri":"file:///é\"","name":"x"}`},
		{"resources/read", `{"uri":"=?base64?"}`, "=?base64?", "=?base64?PT9iYXNlNjQ/?=", ""},
		{"tools/list", `{"name":"x"}`, "", "", ""},
	} {
		s := compileOne(t, w, c.method, c.params)
		line, r := s.AppendStep(nil, 0, 7)
		if r != (Request{0, c.method, c.name}) || r.HeaderName() != c.header {
			t.Errorf("%s: %+v, %s", c.params, r, r.HeaderName())
		}
		if c.sent == "" {
			c.sent = c.params
		}
		if want := `{"jsonrpc":"2.0","id":7,"method":"` + c.method + `","params":` + c.sent + "}\n"; string(line) != want {
			t.Errorf("%s, want %s", line, want)
		}
	}
}

func TestMeta(t *testing.T) {
	const meta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"erlmcp-loadtest","version":"1"},` +
		`"io.modelcontextprotocol/clientCapabilities":{}`
	for params, want := range map[string]string{
		"":     `{"_meta":{` + meta + `}}`,
		"null": `{"_meta":{` + meta + `}}`,
		"{}":   `{"_meta":{` + meta + `}}`,
		`{"_meta":{"progressToken":"{{$counter}}"},"a":[{"_meta":1}]}`: `{"a":[{"_meta":1}],"_meta":{"progressToken":1,` + meta + `}}`,
		`{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"x":1}}}`: `{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"x":1},` +
			strings.TrimSuffix(meta, `,"io.modelcontextprotocol/clientCapabilities":{}`) + `}}`,
	} {
		if got := compileOne(t, Work{Era: mcp.StatelessEra}, "x", params).params(t); got != want {
			t.Errorf("%s: %s, want %s", params, got, want)
		}
	}
	if got := compileOne(t, Work{}, "x", "null").params(t); got != "" {
		t.Errorf("in the session era: %s", got)
	}
}

func TestNoStepsAskTheSameAgain(t *testing.T) {
	for q, want := range map[ask.Question]Request{
		ask.Whoami: {Verification, "tools/call", "whoami"}, ask.Discover: {Verification, "server/discover", ""}, ask.Ping: {Verification, "ping", ""},
	} {
		s, err := Work{Verify: q, Era: q.Era()}.Compile()
		if err != nil {
			t.Fatal(err)
		}
		line, r := s.AppendStep(nil, s.Next(), 3)
		if string(line) != string(q.Append(nil, 3)) || r != want || s.StepName(r.Step) != string(q) {
			t.Errorf("%s, %+v, %s", line, r, s.StepName(r.Step))
		}
	}
}

func TestParse(t *testing.T) {
	w := Work{Verify: ask.Whoami, Naming: ByAnswer, Steps: []Step{
		{"call", "tools/call", json.RawMessage(`{"name":"echo"}`), 1},
		{"list", "tools/list", nil, 1},
		{"who", "tools/call", json.RawMessage(`{"name":"whoami"}`), 1},
	}}
	byName, err := w.Compile()
	if err != nil {
		t.Fatal(err)
	}
	w.Verify, w.Naming = ask.Ping, Nameless
	nameless, err := w.Compile()
	if err != nil {
		t.Fatal(err)
	}
	const node = `"result":{"content":[{"type":"text","text":"n1"}]}`
	const no = `"result":{"content":[],"isError":true}`
	const failed = `"error":{"code":-32602,"message":"no"}`
	for _, c := range []struct {
		step int
		body string
		kind ask.ReplyKind
		node string
		code int
	}{
		{0, node, ask.ReplyAnswer, "", 0},
		{0, no, ask.ReplyToolError, "", 0},
		{0, `"result":{"content":[],"is\u0045rror":true}`, ask.ReplyToolError, "", 0},
		{0, `"result":{"isError":false,"structuredContent":{"isError":true}}`, ask.ReplyAnswer, "", 0},
		{0, failed, ask.ReplyError, "", -32602},
		{1, node, ask.ReplyAnswer, "", 0},
		{1, no, ask.ReplyAnswer, "", 0},
		{1, failed, ask.ReplyError, "", -32602},
		{2, node, ask.ReplyAnswer, "n1", 0},
		{2, `"result":{}`, ask.ReplyError, "", 0},
		{Verification, node, ask.ReplyAnswer, "n1", 0},
		{Verification, no, ask.ReplyError, "", 0},
	} {
		id := ID(12345, c.step)
		line := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,%s}`, id, c.body)
		if r := byName.Parse(line); r.Kind != c.kind || string(r.Node) != c.node || (r.Node == nil) != (c.node == "") || r.Code != c.code || r.ID != id {
			t.Errorf("%s of %d: %+v", line, c.step, r)
		}
		if r := nameless.Parse(line); r.Node != nil || c.step < 2 && r.Kind != c.kind || c.step == Verification && r.Kind != ask.ReplyAnswer {
			t.Errorf("nameless: %s of %d: %+v", line, c.step, r)
		}
	}
	for line, want := range map[string]ask.ReplyKind{
		`{"jsonrpc":"2.0","method":"x"}`:                                       ask.ReplyNone,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32018,"message":"full"}}`: ask.ReplyRefusal,
		`{"jsonrpc":"2.0","id":"a","result":{}}`:                               ask.ReplyOther,
		`HTTP/1.1 400`:                                                         ask.ReplyOther,
	} {
		if r := byName.Parse([]byte(line)); r.Kind != want || r.Node != nil {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

func TestWorkErrors(t *testing.T) {
	step := Step{Name: "a", Method: "x", Weight: 1}
	with := func(change func(*Step)) Work {
		s := step
		change(&s)
		return Work{Steps: []Step{s}}
	}
	for _, c := range []struct {
		work Work
		want string
	}{
		{Work{Steps: make([]Step, MaxSteps+1)}, "201 steps are more than 200"},
		{Work{Steps: []Step{step, step}}, `two steps are named "a"`},
		{with(func(s *Step) { s.Weight = 0 }), `step "a": 0 is never asked: leave the step out`},
		{with(func(s *Step) { s.Name = "" }), `step "": has no name`},
		{with(func(s *Step) { s.Name = strings.Repeat("x", 101) }), `a name of more than 100 characters`},
		{with(func(s *Step) { s.Method = "" }), `step "a": has no method`},
		{with(func(s *Step) { s.Method = "initialize" }), `step "a": is how a session begins`},
		{with(func(s *Step) { s.Params = json.RawMessage(`[1]`) }), `step "a": parameters: "[1]" is not a JSON object`},
		{with(func(s *Step) { s.Params = json.RawMessage(`{"a":"{{$line f}}"}`) }), `step "a": parameters: the file "f" is missing`},
		{with(func(s *Step) { s.Params = json.RawMessage(`{"a":"{{$"}`) }), `step "a": parameters: "{{$" does not close`},
		{with(func(s *Step) { s.Params = make([]byte, MaxText+1) }), `the parameters of all steps are larger than 1048576 bytes`},
		{Work{Files: map[string][]byte{"f": nil}}, `the file "f" has no line`},
		{Work{Files: map[string][]byte{"f": make([]byte, MaxFiles+1)}}, `the files are larger than 4194304 bytes together`},
		{Work{Think: Think{2, 1}}, `a think time of 2ns to 1ns is not within 0s and 24h0m0s`},
		{Work{Session: Session{-1}}, `sessions of -1 requests`},
		{Work{Session: Session{5}, Era: mcp.StatelessEra}, `sessions of 5 requests: the server is one of 2026-07-28, which has no sessions`},
		{Work{Share: Share{Index: 2, Of: 2}}, `agent 2 of 2`},
	} {
		if _, err := c.work.Compile(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

func TestInitialize(t *testing.T) {
	if got, want := string(AppendInitialize(nil, 9)), `{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},`+
		`"clientInfo":{"name":"erlmcp-loadtest","version":"1"}}}`+"\n"; got != want {
		t.Error(got)
	}
	if got := string(AppendInitialized(nil)); got != `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n" {
		t.Error(got)
	}
}

// Shares are exact, whatever the weights are, and a step never gets ahead of its share by a whole turn.
func TestWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 3), rapid.IntRange(1, 300)), 1, 12).Draw(t, "weights")
		var w Work
		total := 0
		for i, n := range weights {
			w.Steps = append(w.Steps, Step{Name: fmt.Sprint(i), Method: "x", Weight: n})
			total += n
		}
		s, err := w.Compile()
		if err != nil {
			t.Fatal(err)
		}
		counts := make([]int, len(weights))
		for turn := 1; turn <= 2*total; turn++ {
			i := s.Next()
			counts[i]++
			if ahead := float64(counts[i]) - float64(turn)*float64(weights[i])/float64(total); ahead >= 1 {
				t.Fatalf("step %d is ahead by %g after %d", i, ahead, turn)
			}
			if turn%total == 0 {
				for i, n := range weights {
					if counts[i] != n*turn/total {
						t.Fatalf("%d of %d are step %d, want %d", counts[i], turn, i, n*turn/total)
					}
				}
			}
		}
	})
}

func TestNoClumps(t *testing.T) {
	s, err := Work{Steps: []Step{{"a", "x", nil, 5}, {"b", "x", nil, 1}, {"c", "x", nil, 1}}}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	order := ""
	for range 7 {
		order += s.StepName(s.Next())
	}
	if order != "aabacaa" {
		t.Error(order)
	}
}

// A request costs no allocation beyond the buffer that it is written into.
func TestAppendStepDoesNotAllocate(t *testing.T) {
	s := compileOne(t, Work{Files: map[string][]byte{"f": []byte("a\nb\n")}, Era: mcp.StatelessEra}, "tools/call",
		`{"name":"é","arguments":{"a":"{{$counter}}","b":"{{$int 1 9}} {{$uuid}} {{$hex 40}} {{$line f}} {{$randomline f}} {{$client}} {{$now}} {{$now rfc3339}}"}}`)
	s.now = time.Now
	buffer := make([]byte, 0, 1<<12)
	if n := testing.AllocsPerRun(100, func() {
		buffer, _ = s.As(3).AppendStep(buffer[:0], s.Next(), math.MaxInt64)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// oracle is what the value of a template must look like, and whether it is a number.
func oracle(parts []part, content string) (form string, number bool) {
	form = "(?s)^"
	for _, p := range parts {
		switch p.kind {
		case literal:
			form += regexp.QuoteMeta(string([]rune(p.text)))
		case counter:
			form += regexp.QuoteMeta(fmt.Sprint(p.from))
		case integer:
			form += "-?[0-9]+"
		case uuid:
			form += "[0-9a-f-]{36}"
		case hex:
			form += strings.Repeat("[0-9a-f]", int(p.to))
		case line, randomLine:
			form += regexp.QuoteMeta(content)
		case client:
			form += "1"
		case millis:
			form += "1785230999123"
		case rfc3339:
			form += "2026-07-28T09:29:59\\.123Z"
		}
	}
	return form + "$", len(parts) == 1 && parts[0].numeric()
}

// FuzzTemplate: whatever a template is and a file's line holds, the request is JSON, in one line, and has the value that it
// must. A text that is escaped is sent as it is.
func FuzzTemplate(f *testing.F) {
	f.Add("{{$counter}}", []byte("x"))
	f.Add("a{{$line f}}b{{$randomline f}}{{$counter 5 text}}", []byte("\x00\"\\\xff\u2028é"))
	f.Add("{{$int -5 5}}{{ $now rfc3339}}{{$now}}{{$client}}{{$uuid}}{{$hex 3}}{{$$x}}", []byte(" "))
	f.Add("{{{$$$counter}}}", []byte("}}"))
	f.Fuzz(func(t *testing.T, text string, content []byte) {
		if len(text) > 1000 || len(content) > 1000 || slices.Contains(content, '\n') {
			return
		}
		w := Work{Files: map[string][]byte{"f": content}}
		lines, err := splitLines(content)
		if err != nil || len(lines.texts) != 1 {
			w.Files, lines = nil, nil
		}
		var line string
		if lines != nil {
			if err := json.Unmarshal([]byte(`"`+lines.texts[0]+`"`), &line); err != nil {
				t.Fatal(err)
			}
			plain := strings.TrimSuffix(strings.TrimPrefix(string(content), "\ufeff"), "\r")
			if line != string([]rune(plain)) {
				t.Fatalf("%q became %q", plain, line)
			}
		}
		check := func(template, form string, number bool) {
			t.Helper()
			w.Steps = []Step{{Name: "a", Method: "x", Params: []byte(`{"v":"` + escapeJSON(template) + `"}`), Weight: 1}}
			s, err := w.Compile()
			if err != nil {
				t.Fatal(err)
			}
			s.now = func() time.Time { return time.UnixMilli(1785230999123) }
			request, _ := s.AppendStep(nil, 0, 1)
			if strings.Count(string(request), "\n") != 1 || len(request) > s.steps[0].longest+len(head)+20 {
				t.Fatalf("%q", request)
			}
			var m struct{ Params struct{ V any } }
			if err := json.Unmarshal(request, &m); err != nil {
				t.Fatalf("%s: %v", request, err)
			}
			var value string
			switch v := m.Params.V.(type) {
			case string:
				value = v
			case float64:
				value = fmt.Sprintf("%.0f", v)
			default:
				t.Fatalf("%s", request)
			}
			if _, is := m.Params.V.(float64); is != number || !regexp.MustCompile(form).MatchString(value) {
				t.Fatalf("%q, want %s", value, form)
			}
		}
		text = string([]rune(text)) // as JSON has it
		check(escapeTemplate(text), "(?s)^"+regexp.QuoteMeta(text)+"$", false)
		parts, err := parseTemplate(text)
		if err != nil {
			return
		}
		for _, name := range filesOf(parts) {
			if name != "f" || lines == nil {
				return
			}
		}
		form, number := oracle(parts, line)
		check(text, form, number)
	})
}

// FuzzParse: whatever a server says, only an answer to whoami names a node.
func FuzzParse(f *testing.F) {
	w := Work{Verify: ask.Whoami, Naming: ByAnswer, Steps: []Step{{"a", "tools/call", json.RawMessage(`{"name":"a"}`), 1}, {"b", "tools/list", nil, 1}}}
	s, err := w.Compile()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"jsonrpc":"2.0","id":0,"result":{"isError":true,"content":[{"text":"x"}]}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"error":{"code":-32019,"message":""}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":456,"result":{"structuredContent":{"node":"n"}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"x"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r := s.Parse(line)
		_, step := OfID(r.ID)
		if r.Node != nil && (step < len(w.Steps) || r.Kind != ask.ReplyAnswer) || r.Kind == ask.ReplyToolError && step != 0 {
			t.Errorf("%+v", r)
		}
	})
}
