package work

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// write makes a file in a directory of the test.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	at := filepath.Join(dir, name)
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

// example is the scenario in the documentation, with the file that it names.
func example(t testing.TB) Work {
	t.Helper()
	text, err := os.ReadFile("../../../docs/scenario.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatal("there is no example")
	}
	dir := t.TempDir()
	write(t, dir, "words.txt", "one\ntwo\n\nthree\r\n")
	w, err := ReadScenario(write(t, dir, "scenario.yaml", string(found[1])))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestReadScenario(t *testing.T) {
	w := example(t)
	if w.Think != (Think{time.Second, 3 * time.Second}) || w.Session.Calls != 20 || string(w.Files["words.txt"]) != "one\ntwo\n\nthree\r\n" {
		t.Errorf("%+v", w)
	}
	if rate := w.Think.Rate(1000); rate != 500 {
		t.Errorf("%g requests a second", rate)
	}
	want := []Step{
		{"tools/call search", "tools/call", json.RawMessage(`{"name":"search","arguments":{"query":"{{$line words.txt}}","page":"{{$int 1 5}}"}}`), 6},
		{"search again", "tools/call", json.RawMessage(`{"name":"search","arguments":{"query":"hello","request":"{{$uuid}}"}}`), 2},
		{"resources/read file:///{{$randomline words.txt}}.txt", "resources/read", json.RawMessage(`{"uri":"file:///{{$randomline words.txt}}.txt"}`), 1},
		{"prompts/get greet", "prompts/get", json.RawMessage(`{"name":"greet","arguments":{"who":"client {{$client}}"}}`), 1},
		{"tools/list", "tools/list", nil, 1},
		{"completion/complete", "completion/complete",
			json.RawMessage(`{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"a{{$counter text}}"}}`), 1},
	}
	if !reflect.DeepEqual(w.Steps, want) {
		t.Errorf("%s", mustJSON(t, w.Steps))
	}
}

func TestScenarioTravels(t *testing.T) {
	w := example(t)
	w.Share = Share{1, 2, 3, 4}
	var back Work
	if err := json.Unmarshal(mustJSON(t, w), &back); err != nil || !reflect.DeepEqual(back, w) {
		t.Errorf("%+v, %v", back, err)
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestScenarioValues(t *testing.T) {
	const text = `
steps:
  - method: x
    params: &all {i: 0x10, big: 12345678901234567890, f: 1.50, yes: true, "no": "no", nothing: null, date: 2026-07-28, list: [1, [a]], "{{$no}}": ' " \'}
  - {method: y, params: {again: *all}}
`
	w, err := parseScenario("s.yaml", []byte(text), new(files))
	if err != nil {
		t.Fatal(err)
	}
	const all = `{"i":16,"big":12345678901234567890,"f":1.5,"yes":true,"no":"no","nothing":null,"date":"2026-07-28","list":[1,["a"]],"{{$no}}":" \" \\"}`
	if string(w.Steps[0].Params) != all || string(w.Steps[1].Params) != `{"again":`+all+`}` {
		t.Errorf("%s\n%s", w.Steps[0].Params, w.Steps[1].Params)
	}
}

func TestInitializeIsALengthOfSessions(t *testing.T) {
	w, err := parseScenario("s.yaml", []byte("steps: [{tool: a, weight: 30}, {method: initialize, weight: 2}, {tool: b, weight: 11}]"), new(files))
	if err != nil || w.Session.Calls != 20 || len(w.Steps) != 2 {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestStepsAreNamedApart(t *testing.T) {
	w, err := parseScenario("s.yaml", []byte("steps: [{tool: a}, {tool: a}, {method: tools/call, params: {name: a}}, {tool: \"\\e[2J\"}]"), new(files))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range w.Steps {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, "|"); got != "tools/call a|tools/call a #2|tools/call a #3|tools/call ?[2J" {
		t.Error(got)
	}
}

func TestScenarioErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "empty.txt", "")
	write(t, dir, "blank.txt", "\n\r\n")
	write(t, dir, "large.txt", strings.Repeat("x\n", MaxText/2)+"x")
	write(t, dir, "line.txt", strings.Repeat("x", 1<<19))
	for _, name := range []string{"a.txt", "b.txt", "c.txt", "d.txt", "e.txt"} {
		write(t, dir, name, strings.Repeat("x\n", MaxText/2))
	}
	for _, c := range []struct{ text, want string }{
		{"", "s.yaml: the file is empty"},
		{"# nothing", "s.yaml: there is nothing in it; a scenario has steps"},
		{"a: [", "s.yaml:1: did not find expected node content"},
		{"steps: [{tool: a}]\n---\nsteps: []", "s.yaml:2:1: a second document begins here, but only one is read"},
		{"- tool: a", `s.yaml:1:1: is a list, but must have keys of steps, think, session`},
		{"think: 2s", "s.yaml:1:1: steps: are missing: a scenario has at least one step, such as {tool: echo}"},
		{"steps: []", "s.yaml:1:8: steps: is an empty list, but must be a list of at least one step, such as {tool: echo}"},
		{"setps: [{tool: a}]", "s.yaml:1:1: setps: unknown key; did you mean steps?"},
		{"load: 1\nsteps: [{tool: a}]", "s.yaml:1:1: load: unknown key; known are steps, think, session"},
		{"steps:\n  - tool: a\n    wieght: 3", "s.yaml:3:5: steps[0].wieght: unknown key; did you mean weight?"},
		{"steps:\n  - tool: a\n    tool: b", "s.yaml:3:5: steps[0].tool: is already set in line 2"},
		{"steps: [{tool: a, weight: 0}]", "s.yaml:1:27: steps[0].weight: 0 is never asked: leave the step out"},
		{"steps: [{tool: a, weight: -1}]", "s.yaml:1:27: steps[0].weight: -1 is not between 1 and 1000000"},
		{"steps: [{tool: a, weight: many}]", `s.yaml:1:27: steps[0].weight: is "many", but must be a whole number`},
		{"steps: [{weight: 1}]", "s.yaml:1:9: steps[0]: does not say what to ask: write one of tool, prompt, resource, method"},
		{"steps: [{tool: a, prompt: b}]", "s.yaml:1:9: steps[0]: says tool and prompt, but a step asks for one thing"},
		{"steps: [{tool: }]", "s.yaml:1:16: steps[0].tool: is empty, but must be a text"},
		{"steps: [{tool: a, params: {}}]", "s.yaml:1:27: steps[0].params: are of a method; a tool or a prompt has args"},
		{"steps: [{method: a, args: {}}]", "s.yaml:1:27: steps[0].args: are of a tool or a prompt; a method has params"},
		{"steps: [{tool: a, args: [1]}]", "s.yaml:1:25: steps[0].args: is a list, but must be a mapping such as {text: hello}"},
		{"steps: [{method: tools/call}]", "s.yaml:1:9: steps[0]: tools/call needs params with a text for name"},
		{"steps: [{method: resources/read, params: {uri: 7}}]", "s.yaml:1:9: steps[0]: resources/read needs params with a text for uri"},
		{"steps: [{method: notifications/x}]", "s.yaml:1:18: steps[0].method: notifications/x is a notification, which nobody answers"},
		{"steps: [{method: subscriptions/listen}]", "s.yaml:1:18: steps[0].method: subscriptions/listen is a stream, which does not end with an answer"},
		{"steps: [{method: a b}]", `s.yaml:1:18: steps[0].method: "a b" is not a method such as tools/call`},
		{"steps: [{tool: a, name: x}, {tool: b, name: x}]", `s.yaml:1:29: steps[1].name: "x" is the name of the step in line 1 too`},
		{"steps: [{tool: a, name: \"\\e\"}]", `s.yaml:1:25: steps[0].name: "\x1b" is not a name: it has characters that cannot be shown`},
		{"steps: [{method: initialize}]", "s.yaml:1:9: steps[0]: there is no other step, and a session has requests"},
		{"steps: [{tool: a}, {method: initialize, weight: 2}]",
			"s.yaml:1:20: steps[1]: initialize weighs more than all other steps together, and a session has a request at least"},
		{"steps: [{tool: a}, {method: initialize}]\nsession: {calls: 2}",
			"s.yaml:1:20: steps[1]: begins a session, of which line 2 says already how long it is: leave one of them out"},
		{"session: {calls: 0}\nsteps: [{tool: a}]", "s.yaml:1:18: session.calls: 0 is not between 1 and 1000000000"},
		{"session: {}\nsteps: [{tool: a}]", "s.yaml:1:10: session: does not say how long one is; {calls: 20} are sessions of twenty requests"},
		{"think: 5\nsteps: [{tool: a}]", `s.yaml:1:8: think: "5" is not a time such as 2s, or a range such as 1s-3s`},
		{"think: 3s-1s\nsteps: [{tool: a}]", `s.yaml:1:8: think: "3s-1s" is not within 0s and 24h0m0s, the shorter time first`},
		{"steps: [{tool: a, args: {x: {{$counter}}}}]",
			`s.yaml:1:30: steps[0].args.x: a key must be a text, but is a mapping; a template is written in quotes: "{{$counter}}"`},
		{`steps: [{tool: a, args: {x: "{{$counter"}}]`,
			`s.yaml:1:29: steps[0].args.x: "{{$counter" does not close: write }} behind it (a text that reads {{$ is written {{$$)`},
		{`steps: [{tool: a, args: {x: ["{{$cuonter}}"]}}]`,
			`s.yaml:1:30: steps[0].args.x[0]: "{{$cuonter}}": "cuonter" is not one of counter, int, uuid, hex, line, randomline, client, now; ` +
				`did you mean counter? (a text that reads {{$ is written {{$$)`},
		{`steps: [{resource: "x:{{$int 1}}"}]`, `s.yaml:1:20: steps[0].resource: "{{$int 1}}": write {{$int FROM TO}}, numbers up to 2^53`},
		{`steps: [{tool: a, args: {x: "{{$int 5 1}}"}}]`, `s.yaml:1:29: steps[0].args.x: "{{$int 5 1}}": 5 is above 1`},
		{`steps: [{tool: a, args: {x: "{{$hex 9999}}"}}]`, `s.yaml:1:29: steps[0].args.x: "{{$hex 9999}}": 9999 digits are not between 1 and 1024`},
		{`steps: [{tool: a, args: {x: "{{$line none.txt}}"}}]`, `s.yaml:1:29: steps[0].args.x: DIR/none.txt: no such file or directory`},
		{`steps: [{tool: a, args: {x: "{{$line empty.txt}}"}}]`, `s.yaml:1:29: steps[0].args.x: DIR/empty.txt: the file is empty`},
		{`steps: [{tool: a, args: {x: "{{$line blank.txt}}"}}]`, `s.yaml:1:29: steps[0].args.x: DIR/blank.txt: the file has no line to take`},
		{`steps: [{tool: a, args: {x: "{{$line large.txt}}"}}]`, `s.yaml:1:29: steps[0].args.x: DIR/large.txt: the file is larger than 1048576 bytes`},
		{`steps: [{tool: a, args: {x: "{{$line a.txt}}{{$line b.txt}}{{$line c.txt}}{{$line d.txt}}{{$line e.txt}}"}}]`,
			`s.yaml:1:29: steps[0].args.x: DIR/e.txt: the files up to this one are larger than 4194304 bytes together`},
		{`steps: [{tool: a, args: {x: "` + strings.Repeat("{{$line line.txt}}", 9) + `"}}]`,
			`s.yaml: step "tools/call a": parameters: a request can become 4718659 bytes long, more than 4194304`},
		{"steps: [{tool: a, args: &a {x: *a}}]", "s.yaml:1:32: steps[0].args.x.x…: is nested more than 64 deep"},
		{"steps: [{method: a, params: {_meta: 1}}]", `s.yaml: step "a": parameters: _meta: "1" is not a JSON object`},
		{"steps: [{tool: a, args: {x: .nan}}]", "s.yaml:1:29: steps[0].args.x: .nan is no number in JSON"},
		{"steps: [{tool: a, args: {x: !!binary aGk=}}]", "s.yaml:1:29: steps[0].args.x: !!binary is no kind of value that JSON has"},
		{"steps: [{tool: a, args: {<<: {b: 1}}}]", "s.yaml:1:26: steps[0].args.<<: merging is not for parameters; write them out"},
		{"steps: [{tool: a, args: {b: 1, b: 2}}]", "s.yaml:1:32: steps[0].args.b: is already set in line 1"},
		{"steps:\n" + strings.Repeat("- tool: a\n", MaxSteps+1), "s.yaml:202:3: steps: 201 are more than 200"},
		{"think: 1\nsession: 2\nsteps: 3", "s.yaml:1:8: think: \"1\" is not a time such as 2s, or a range such as 1s-3s\n" +
			"s.yaml:2:10: session: is \"2\", but must have keys of calls\n" +
			"s.yaml:3:8: steps: is \"3\", but must be a list of at least one step, such as {tool: echo}"},
		{"steps:\n" + strings.Repeat("- {tool: a, x: 1}\n", 30), "and 10 more"},
	} {
		_, err := ReadScenario(write(t, dir, "s.yaml", c.text))
		if err == nil {
			t.Errorf("%.80s: no error", c.text)
			continue
		}
		got := strings.ReplaceAll(strings.ReplaceAll(err.Error(), dir+"/s.yaml", "s.yaml"), dir, "DIR")
		if last := strings.HasPrefix(c.want, "and ") && strings.HasSuffix(got, c.want); got != c.want && !last {
			t.Errorf("%.80s:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// What aliases make of a few lines is bounded.
func TestAliasesAreBounded(t *testing.T) {
	text := "steps:\n- method: x\n  params:\n    a0: &a0 [xxxxxxxxxx, xxxxxxxxxx]\n"
	for i := 1; i < 40; i++ {
		d := string(rune('0' + i/10))
		e := string(rune('0' + (i-1)/10))
		this, last := "a"+d+string(rune('0'+i%10)), "a"+e+string(rune('0'+(i-1)%10))
		if i == 1 {
			last = "a0"
		}
		text += "    " + this + ": &" + this + " [*" + last + ", *" + last + "]\n"
	}
	if _, err := parseScenario("s.yaml", []byte(text), new(files)); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("%.200v", err)
	}
}

func TestFromTool(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, dir, "words.txt", "a\nb\n")
	write(t, dir, "args.json", ` { "q" : "{{$line words.txt}}" , "n":[1.50] } `)
	for args, want := range map[string]string{
		"":                     `{"name":"search","arguments":{}}`,
		`{"a": "b"}`:           `{"name":"search","arguments":{"a":"b"}}`,
		"@args.json":           `{"name":"search","arguments":{"q":"{{$line words.txt}}","n":[1.50]}}`,
		`{"q":"{{$counter}}"}`: `{"name":"search","arguments":{"q":"{{$counter}}"}}`,
	} {
		w, err := FromTool("search", args)
		if err != nil || len(w.Steps) != 1 || w.Steps[0].Name != "tools/call search" || w.Steps[0].Method != mcp.MethodCallTool ||
			w.Steps[0].Weight != 1 || string(w.Steps[0].Params) != want {
			t.Errorf("%s: %s, %v", args, mustJSON(t, w), err)
		}
	}
	for _, c := range []struct{ tool, args, want string }{
		{"", "", "--tool: is empty, but a tool has a name"},
		{"{{$x}}", "", `--tool: "{{$x}}": "x" is not one of counter, int, uuid, hex, line, randomline, client, now (a text that reads {{$ is written {{$$)`},
		{"a", "[1]", `--args: "[1]" is not a JSON object such as {"text":"hello"}`},
		{"a", "null", `--args: null is not a JSON object`},
		{"a", "{", `--args: "{" is not a JSON object such as {"text":"hello"}`},
		{"a", "{\"a\":\"\xff\"}", `--args: is not UTF-8`},
		{"a", "@none.json", "--args: none.json: no such file or directory"},
		{"a", `{"b":["{{$line none}}"]}`, "--args: b: [0]: none: no such file or directory"},
		{"a", `{"b":"` + strings.Repeat("x", MaxText) + `"}`, "--args: arguments of more than 1048576 bytes"},
	} {
		if _, err := FromTool(c.tool, c.args); err == nil || err.Error() != c.want {
			t.Errorf("%s %.40s: %v, want %s", c.tool, c.args, err, c.want)
		}
	}
}

// FuzzScenario reads any text as a scenario. What is accepted travels and can be asked.
func FuzzScenario(f *testing.F) {
	f.Add("steps: [{tool: a, args: {x: \"{{$counter}}\", y: [1, 1.5, null, {z: true}]}, weight: 2}, {method: ping}]")
	f.Add("think: 1s-2s\nsession: {calls: 3}\nsteps:\n- &a {resource: x}\n- *a\n- {method: tools/call, params: {name: x, _meta: {a: b}}}")
	f.Add("steps: [{method: initialize}, {prompt: x, name: y}]")
	f.Add("a: &a [*a]\nsteps: *a")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > MaxText || strings.Contains(text, "line") { // of files that there may be
			return
		}
		w, err := parseScenario("fuzz.yaml", []byte(text), new(files))
		if err != nil {
			return
		}
		w.Session = Session{}
		for _, w.Era = range []mcp.Era{mcp.SessionEra, mcp.StatelessEra} {
			var back Work
			if err := json.Unmarshal(mustJSON(t, w), &back); err != nil {
				t.Fatal(err)
			}
			s, err := back.Compile()
			if err != nil {
				t.Fatal(err)
			}
			for i := range w.Steps {
				if line, _ := s.AppendStep(nil, s.Next(), 7); !json.Valid(line) || strings.Count(string(line), "\n") != 1 {
					t.Fatalf("step %d: %s", i, line)
				}
			}
		}
	})
}
