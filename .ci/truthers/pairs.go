package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// added is what the second half of the pairs has more than the first.
const added = 5 * time.Millisecond

// pairs runs load tests through a balancer with four nodes of this process, and has the program compare them: pairs of runs of
// the same thing, in which no figure may be marked, and pairs in which every answer takes 5 ms longer, in which the latency must.
func pairs(ctx context.Context, dir string, n int) error {
	var more atomic.Int64
	var nodes []string
	for _, name := range []string{"a", "b", "c", "d"} {
		s, err := serve(func(time.Time) time.Duration { return 2*time.Millisecond + time.Duration(more.Load()) }, nil)
		if err != nil {
			return err
		}
		s.name = name
		defer s.close()
		_, port, _ := strings.Cut(s.lines(), ":")
		nodes = append(nodes, fmt.Sprintf("    - {name: %s, host: 127.0.0.1, tcp: %s}", name, port))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "erlmcp.yaml")
	config := "lb:\n  listen: {tcp: 127.0.0.1:28950, http: \"\", admin: 127.0.0.1:28951}\n  nodes:\n" + strings.Join(nodes, "\n") + "\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	balancer := func(arguments ...string) error {
		cmd := exec.CommandContext(context.WithoutCancel(ctx), *program, append(arguments, "--config", file, "--state-dir", dir)...)
		cmd.Stderr = os.Stderr
		return cmd.Run()
	}
	if err := balancer("lb", "start"); err != nil {
		return fmt.Errorf("start the balancer: %w", err)
	}
	defer func() { _ = balancer("lb", "stop", "--now") }()

	one := func(name string) (string, error) {
		out := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, *program, "loadtest", "127.0.0.1:28950", "100", fmt.Sprint(int(duration.Seconds())), "--ping-rate", "500",
			"--failover", "none", "--report", out, "--json", "--config", file, "--state-dir", dir)
		if said, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
			if _, missing := os.Stat(filepath.Join(out, "report.json")); missing != nil {
				return "", fmt.Errorf("%w: %s", err, said)
			}
		}
		return out, ctx.Err()
	}
	runs := make([]string, 0, 3*n)
	for i := range 3 * n {
		if i >= 2*n {
			more.Store(int64(added))
		}
		out, err := one(fmt.Sprintf("run%d", i))
		if err != nil {
			return err
		}
		runs = append(runs, out)
	}
	wrong := 0
	for i := range n {
		for _, c := range []struct {
			what      string
			base, new string
			marked    bool
		}{{"the same", runs[2*i], runs[2*i+1], false}, {"5 ms more", runs[2*i], runs[2*n+i], true}} {
			marks, err := compareRuns(ctx, c.base, c.new)
			if err != nil {
				return err
			}
			verdict := "ok"
			if latencies := strings.Contains(strings.Join(marks, " "), "latency"); c.marked && !latencies || !c.marked && len(marks) > 0 {
				verdict = "FAIL"
				wrong++
			}
			fmt.Printf("pair %2d  %-10s marked: %-60s %s\n", i+1, c.what, strings.Join(marks, ", "), verdict)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d pairs are marked wrongly", wrong, 2*n)
	}
	return nil
}

// compareRuns is which figures the program marks as different.
func compareRuns(ctx context.Context, base, new string) ([]string, error) {
	out, err := exec.CommandContext(ctx, *program, "loadtest", "compare", "-o", "json", base, new).Output()
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	var result struct {
		Figures []struct {
			Figure string `json:"figure"`
			Mark   string `json:"mark"` // empty: no difference
		} `json:"figures"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return nil, err
	}
	var marks []string
	for _, f := range result.Figures {
		if f.Mark != "" {
			marks = append(marks, f.Figure)
		}
	}
	return marks, nil
}
