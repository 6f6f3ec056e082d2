package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// load is a short load test of a server behind the balancer, which must pass: at a pace that every machine can keep.
type load struct {
	server string
	about  string   // what its clients are
	args   []string // beside the target, and how much
	judged []string // the checks that have to be judged, and well
}

// everyCheck are those that a load test can judge where each client holds a stream.
var everyCheck = []string{"connections", "distribution", "kernel_agreement", "requests"}

// loads have those servers that begin a session at once, by each of the transports and drivers.
var loads = []load{
	{"go-sdk", "streams, a node is killed", []string{"--driver", "socket", "--tool", "echo", "--args", `{"text": "{{$uuid}}"}`, "--failover", "kill"},
		append([]string{"sticky", "failover_recovered"}, everyCheck...)},
	{"server-everything", "streams", []string{"--driver", "socket", "--tool", "echo", "--args", `{"message": "{{$uuid}}"}`, "--failover", "none"},
		append([]string{"sticky"}, everyCheck...)},
	{"server-everything-sse", "legacy SSE", []string{"--tool", "echo", "--args", `{"message": "{{$uuid}}"}`, "--failover", "none"}, everyCheck},
	{"typescript-sdk", "sessions without streams", []string{"--driver", "vegeta", "--failover", "none"}, []string{"connections", "distribution", "requests", "sticky"}},
}

// loadReport is what is looked at of a report.
type loadReport struct {
	Verdict string
	Reason  string
	Checks  []struct {
		Name, Want, Got, Note string
		Pass                  bool
	}
}

// try starts the server and its balancer, and carries the load test out.
func (l load) try(ctx context.Context, s server) error {
	begin := time.Now()
	on, err := up(ctx, s)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer on.down()
	report, err := on.loadtest(ctx, l.args)
	if err != nil {
		return fmt.Errorf("load test of %s (%s): %w\n%s", s.name, l.about, err, on.logs())
	}
	for _, name := range l.judged {
		if err := report.judgedWell(name); err != nil {
			return fmt.Errorf("load test of %s (%s): %w", s.name, l.about, err)
		}
	}
	fmt.Printf("%-22s load test of 100 clients (%s): %s, in %.1f s\n", s.name, l.about, report.Verdict, time.Since(begin).Seconds())
	return nil
}

// loadtest is the report of a load test that has ended with code 0.
func (s *system) loadtest(ctx context.Context, args []string) (*loadReport, error) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	argv := slices.Concat([]string{"loadtest", s.through, "100", "3", "--ramp-rate", "100", "--ping-rate", "100", "--json"}, args, s.args)
	cmd := exec.CommandContext(ctx, *erlmcp, argv...)
	cmd.Dir, cmd.Env = *dir, s.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("erlmcp %s: %w\n%s%s", strings.Join(argv, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	report := new(loadReport)
	return report, json.Unmarshal(stdout.Bytes(), report)
}

// judgedWell is an error unless a check was judged, and passed.
func (r *loadReport) judgedWell(name string) error {
	for _, c := range r.Checks {
		switch {
		case c.Name != name:
		case !c.Pass || c.Note != "":
			return fmt.Errorf("%s: want %s, got %s %s", name, c.Want, c.Got, c.Note)
		default:
			return nil
		}
	}
	return errors.New(name + " was not judged")
}
