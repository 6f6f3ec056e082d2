package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/term"
)

// tree is all commands, hidden ones included.
func tree() *cobra.Command {
	return newRootCommand(&app{stdin: strings.NewReader(""), stdout: term.New(new(bytes.Buffer)), stderr: term.New(new(bytes.Buffer))})
}

// eachCommand calls do with every command that people see, by its words behind "erlmcp".
func eachCommand(do func(path string, c *cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		do(strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "erlmcp"), " "), c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(tree())
}

// isGroup reports whether a command only holds others.
func isGroup(c *cobra.Command) bool { return c.HasSubCommands() && c.Name() != "loadtest" }

// runMain runs one command line, without anything that runs in the background.
func runMain(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

// usageCode is what a command ends with that was asked in the wrong way.
func usageCode(path string) int {
	if path == "health" {
		return 3
	}
	return exit.Usage
}

// endsInAdvice reports whether the last line of an error says what to do.
func endsInAdvice(stderr string) bool {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	return strings.HasPrefix(lines[len(lines)-1], "hint: ") && strings.HasPrefix(lines[0], "erlmcp: ")
}

func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("ERLMCP_STATE_DIR", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Chdir(t.TempDir())
}

// Every command explains itself with words and an example, and each flag with what it is for.
func TestEveryCommandIsExplained(t *testing.T) {
	eachCommand(func(path string, c *cobra.Command) {
		if c.Short == "" || c.Long == "" {
			t.Errorf("erlmcp %s: short %q, long %q", path, c.Short, c.Long)
		}
		if c.Example == "" && !isGroup(c) {
			t.Errorf("erlmcp %s has no example", path)
		}
		if !isGroup(c) && !strings.Contains(c.Example, path) {
			t.Errorf("erlmcp %s: example %q", path, c.Example)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("erlmcp %s: --%s is not explained", path, f.Name)
			}
		})
	})
}

// plain are commands whose output has a form of its own, or that stay in the foreground.
var plain = []string{"", "completion", "man", "help", "cluster unit", "lb unit", "lb serve", "node serve", "config schema", "loadtest agent"}

// changing are the commands that change something that runs; they can say what they would do. waiting are those of them,
// and others, that wait and can be told for how long.
var (
	changing = []string{
		"up", "down", "cluster start", "cluster stop", "cluster restart", "cluster add", "cluster remove", "cluster kill",
		"lb start", "lb stop", "lb reload", "lb drain", "lb disable", "lb enable", "lb ban add", "lb ban remove",
	}
	waiting = []string{
		"up", "down", "cluster start", "cluster stop", "cluster restart", "cluster add", "cluster remove",
		"lb start", "lb stop", "lb reload", "lb drain", "health",
	}
	watching  = []string{"lb status", "cluster status", "health"}
	following = []string{"cluster tail", "cluster logs", "cluster events"}
)

// What a command does decides which flags it has.
func TestEveryCommandHasTheUsualFlags(t *testing.T) {
	eachCommand(func(path string, c *cobra.Command) {
		if isGroup(c) {
			return
		}
		has := func(flag, shorthand string, want bool) {
			f := c.Flags().Lookup(flag)
			if (f != nil) != want || f != nil && f.Shorthand != shorthand {
				t.Errorf("erlmcp %s: --%s is %+v, wanted: %t", path, flag, f, want)
			}
		}
		has("output", "o", !slices.Contains(plain, path))
		has("json", "", !slices.Contains(plain, path))
		has("dry-run", "", slices.Contains(changing, path))
		has("timeout", "", slices.Contains(waiting, path))
		has("watch", "w", slices.Contains(watching, path))
		has("follow", "f", slices.Contains(following, path))
		if f := c.Flags().Lookup("output"); f != nil && !strings.Contains(f.Usage, "json") {
			t.Errorf("erlmcp %s: --output %s", path, f.Usage)
		}
	})
}

// Wrong usage of whichever command is told in two lines, the second of which says what to do, and has the code of the table.
func TestWrongUsageOfEveryCommand(t *testing.T) {
	isolate(t)
	eachCommand(func(path string, c *cobra.Command) {
		words := strings.Fields(path)
		check := func(what string, args ...string) string {
			code, stdout, stderr := runMain(t, append(slices.Clone(words), args...)...)
			if code != usageCode(path) || stdout != "" || !endsInAdvice(stderr) || strings.Count(stderr, "\n") != 2 {
				t.Errorf("erlmcp %s, %s: code %d, %q, %q", path, what, code, stdout, stderr)
			}
			return stderr
		}
		check("unknown flag", "--nonsense")
		if path != "help" {
			check("unknown flag of one letter", "-Z")
		}
		if isGroup(c) {
			if path != "" {
				check("no command")
			}
			check("unknown command", "nonsense")
		}
		if f := c.Flags().Lookup("output"); f != nil {
			if stderr := check("unknown format", "-o", "jsn"); !strings.Contains(stderr, "\nhint: did you mean json?\n") {
				t.Errorf("erlmcp %s -o jsn: %s", path, stderr)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || len(f.Name) < 4 {
				return
			}
			typo := f.Name[:len(f.Name)-2] + f.Name[len(f.Name)-1:] // one letter is missing
			if c.Flags().Lookup(typo) != nil {
				return
			}
			if stderr := check("misspelt flag", "--"+typo); !strings.Contains(stderr, "\nhint: did you mean --") {
				t.Errorf("erlmcp %s --%s: %s", path, typo, stderr)
			}
			switch f.Value.Type() {
			case "int", "duration":
				check("a flag's value is no number", "--"+f.Name, "x")
			}
		})
		if !c.HasParent() || c.Hidden {
			return
		}
		name := c.Name()
		typo := slices.Concat(words[:len(words)-1], []string{name[1:2] + name[:1] + name[2:]}) // two letters are swapped
		code, _, stderr := runMain(t, typo...)
		if len(name) > 2 && (code != exit.Usage || !strings.HasSuffix(stderr, "\nhint: did you mean "+c.CommandPath()+"?\n")) {
			t.Errorf("erlmcp %v: code %d, %s", typo, code, stderr)
		}
	})
}

// Every command, asked for something sensible where nothing runs, and the configuration cannot be read: the code, and the
// advice at the end of what it says.
func TestExitCodeOfEveryCommand(t *testing.T) {
	isolate(t)
	type asked struct {
		args string
		code int
	}
	commands := map[string]asked{
		"":                 {"", 0},
		"up":               {"", exit.Usage},
		"down":             {"", 0},
		"cluster start":    {"", exit.Usage},
		"cluster stop":     {"", 0},
		"cluster restart":  {"", exit.Usage},
		"cluster add":      {"", exit.NotRunning},
		"cluster remove":   {"n1", exit.NotRunning},
		"cluster status":   {"", exit.Usage},
		"cluster events":   {"", exit.NotRunning},
		"cluster tail":     {"--no-follow", exit.Usage},
		"cluster logs":     {"", exit.Usage},
		"cluster kill":     {"n1", exit.NotRunning},
		"cluster unit":     {"", exit.Usage},
		"lb serve":         {"", exit.Usage},
		"lb start":         {"", exit.Usage},
		"lb stop":          {"", 0},
		"lb status":        {"", exit.NotRunning},
		"lb reload":        {"", exit.NotRunning},
		"lb check":         {"", exit.Usage},
		"lb unit":          {"", exit.Usage},
		"lb drain":         {"n1", exit.NotRunning},
		"lb disable":       {"n1", exit.NotRunning},
		"lb enable":        {"n1", exit.NotRunning},
		"lb ban list":      {"", exit.NotRunning},
		"lb ban add":       {"192.0.2.7", exit.NotRunning},
		"lb ban remove":    {"192.0.2.7", exit.NotRunning},
		"lb explain":       {"192.0.2.7", exit.NotRunning},
		"lb token":         {"", exit.NotRunning},
		"lb cert":          {"", exit.Usage},
		"node serve":       {"--tcp 70000", exit.Usage},
		"health":           {"", 3},
		"doctor":           {"", exit.Usage},
		"loadtest":         {"", exit.Usage},
		"loadtest agent":   {"", exit.Usage},
		"loadtest report":  {"none.json", exit.Usage},
		"loadtest compare": {"none.json none.json", exit.Usage},
		"config init":      {"-", 0},
		"config show":      {"", exit.Usage},
		"config check":     {"", exit.Usage},
		"config paths":     {"", 0},
		"config schema":    {"", 0},
		"completion":       {"bash", 0},
		"man":              {"", 0},
		"version":          {"", 0},
		"help":             {"exit-codes", 0},
	}
	eachCommand(func(path string, c *cobra.Command) {
		if isGroup(c) && path != "" {
			return
		}
		want, ok := commands[path]
		if !ok {
			t.Errorf("erlmcp %s is not looked at", path)
			return
		}
		args := slices.Concat(strings.Fields(path), []string{"--config", "not-there.yaml"}, strings.Fields(want.args))
		code, stdout, stderr := runMain(t, args...)
		if code != want.code {
			t.Errorf("erlmcp %s: code %d, want %d; %s", path, code, want.code, stderr)
		}
		if code != 0 && (!endsInAdvice(stderr) || stdout != "") {
			t.Errorf("erlmcp %s: %q, %q", path, stdout, stderr)
		}
		if c.Flags().Lookup("output") == nil || code == 0 && stdout == "" {
			return
		}
		code, stdout, _ = runMain(t, append(args, "-o", "json")...)
		if code != want.code {
			t.Errorf("erlmcp %s -o json: code %d, want %d", path, code, want.code)
		}
		if stdout != "" && path != "config init" && !json.Valid([]byte(stdout)) {
			t.Errorf("erlmcp %s -o json: %q", path, stdout)
		}
	})
}

// What was not done is told as data, too.
func TestChangesAsData(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{{"down"}, {"cluster", "stop"}, {"lb", "stop", "--dry-run"}} {
		code, stdout, _ := runMain(t, append(args, "-o", "json")...)
		var r struct {
			Schema  string
			Changes []change
		}
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || r.Schema != changesSchema || r.Changes == nil || len(r.Changes) != 0 {
			t.Errorf("%v: code %d, %s, error %v", args, code, stdout, err)
		}
	}
	code, stdout, stderr := runMain(t, "down", "-q")
	if code != 0 || stdout+stderr != "" {
		t.Errorf("down -q: code %d, %q, %q", code, stdout, stderr)
	}
}

// The tables of exit codes and variables in the documents are those of the program.
func TestExitCodesInDocuments(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range exit.Codes {
		if row := fmt.Sprintf("| %d | %s | %s |\n", c.Code, c.Meaning, c.Health); !strings.Contains(string(text), row) {
			t.Errorf("docs/operations.md has no row %q", row)
		}
	}
	for _, v := range variables {
		if !strings.Contains(string(text), "| `"+v[0]+"` |") {
			t.Errorf("docs/operations.md does not tell of %s", v[0])
		}
	}
}
