package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// plan is what a client is told to do.
type plan struct {
	URL       string `json:"url"`
	Transport string `json:"transport"`
	Steps     []step `json:"steps"`
}

// client does the steps of a plan and returns the outcome of each that it knows, by name.
type client struct {
	name string
	do   func(context.Context, plan) (map[string]string, error)
}

var clients = []client{
	{"typescript", program("node", "client.mjs")},
	{"go", program("bin/client")},
	{"inspector", inspector},
}

// program is a client that takes a plan as its last argument, and prints outcomes.
func program(argv ...string) func(context.Context, plan) (map[string]string, error) {
	return func(ctx context.Context, p plan) (map[string]string, error) {
		data, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+2**silent)
		defer cancel()
		out, err := output(ctx, append(slices.Clone(argv), string(data))...)
		outcomes := map[string]string{}
		for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
			var line struct{ Step, Outcome string }
			if err := json.Unmarshal(scan.Bytes(), &line); err != nil {
				return outcomes, err
			}
			outcomes[line.Step] = line.Outcome
		}
		return outcomes, err
	}
}

// output runs a program in the directory of the servers; an error has what it said.
func output(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = *dir
	cmd.Env = append(os.Environ(), "HOME="+*dir) // the inspector keeps files there
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %.500s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), err
}

// inspector does what the command line of the inspector can: it calls a tool and ends. It answers no questions, and
// shows no notifications.
func inspector(ctx context.Context, p plan) (map[string]string, error) {
	outcomes := map[string]string{}
	for _, step := range p.Steps {
		var outcome string
		var err error
		switch step.Name {
		case "list":
			outcome, err = inspectTools(ctx, p)
		case "silent":
			if *silent > 50*time.Second {
				continue // it gives up after a minute by itself
			}
			fallthrough
		case "call", "progress":
			outcome, err = inspectCall(ctx, p, step)
		case "big":
			outcome, err = inspectCall(ctx, p, step)
			outcome = fmt.Sprintf("%d characters %.6x", len(outcome), sha256.Sum256([]byte(outcome)))
		case "parallel":
			outcome, err = inspectLoad(ctx, p, step)
		default:
			continue
		}
		if err != nil {
			outcome = "error: " + err.Error()
		}
		outcomes[step.Name] = outcome
	}
	return outcomes, nil
}

// inspect runs the inspector and decodes what it prints.
func inspect(ctx context.Context, p plan, into any, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+*silent)
	defer cancel()
	argv := []string{"node_modules/.bin/mcp-inspector", "--cli", p.URL, "--transport", p.Transport}
	out, err := output(ctx, append(argv, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("%w: %.200s", err, out)
	}
	return nil
}

func inspectTools(ctx context.Context, p plan) (string, error) {
	var list struct{ Tools []struct{ Name string } }
	err := inspect(ctx, p, &list, "--method", "tools/list")
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " "), err
}

func callArguments(step step, more map[string]any) ([]string, error) {
	arguments := map[string]any{}
	for name, value := range step.Arguments {
		arguments[name] = value
	}
	for name, value := range more {
		arguments[name] = value
	}
	data, err := json.Marshal(arguments)
	return []string{"--method", "tools/call", "--tool-name", step.Tool, "--tool-args-json", string(data)}, err
}

func inspectCall(ctx context.Context, p plan, step step) (string, error) {
	args, err := callArguments(step, nil)
	if err != nil {
		return "", err
	}
	var result struct {
		Content []struct {
			Text     string
			Resource struct{ Blob string }
		}
		IsError bool
	}
	if err := inspect(ctx, p, &result, args...); err != nil {
		return "", err
	}
	if len(result.Content) == 0 || result.IsError {
		return "", fmt.Errorf("an answer of %+v", result)
	}
	return result.Content[0].Text + result.Content[0].Resource.Blob, nil
}

func inspectLoad(ctx context.Context, p plan, step step) (string, error) {
	args, err := callArguments(step, map[string]any{step.Argument: "text"})
	if err != nil {
		return "", err
	}
	var load struct {
		OK            int
		ErrorMessages []any
	}
	err = inspect(ctx, p, &load, append(args, "--load", "--load-concurrency", "50", "--load-requests", "50")...)
	outcome := fmt.Sprintf("%d of 50", load.OK)
	if len(load.ErrorMessages) > 0 {
		outcome += fmt.Sprint(", ", load.ErrorMessages)
	}
	return outcome, err
}
