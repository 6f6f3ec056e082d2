// Command truthers runs load tests against a server whose latencies follow from arithmetic, and compares what they measure with
// that:
//
//	stall   every ten seconds nobody is answered for 200 ms; who is due meanwhile waits for the end. Whoever leaves out what
//	        other clients would have waited (coordinated omission) does not see it.
//	known   each answer takes what a known distribution says: 100 ms and more, of which half are below 200 and one in a
//	        hundred above 800
//	limit   1,000 requests a second are answered, others refused (HTTP 429)
//
//	truthers -erlmcp PROGRAM [-only NAMES] [-for 60s]
//	truthers -erlmcp PROGRAM -pairs 10 -for 12s
//
// With -pairs it compares runs, see pairs.go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

var (
	program  = flag.String("erlmcp", "", "the program")
	only     = flag.String("only", "stall,known,limit", "which ones")
	duration = flag.Duration("for", 60*time.Second, "how long each is held: whole tens of seconds")
	repeats  = flag.Int("pairs", 0, "compare so many pairs of runs instead")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "truthers:", err)
		os.Exit(1)
	}
}

// row is one percentile that one driver has measured.
type row struct {
	server, driver, figure string
	want, got, within      float64 // within: per cent
	judged                 bool
}

func (r *row) off() float64 { return 100 * math.Abs(r.got-r.want) / r.want }

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "truthers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *repeats > 0 {
		return pairs(ctx, filepath.Join(dir, "pairs"), *repeats)
	}
	var rows []row
	for _, c := range []struct {
		name string
		run  func(context.Context, string) ([]row, error)
	}{{"stall", stall}, {"known", known}, {"limit", limit}} {
		if !strings.Contains(","+*only+",", ","+c.name+",") {
			continue
		}
		found, err := c.run(ctx, filepath.Join(dir, c.name))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, found...)
	}
	return show(rows)
}

func show(rows []row) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVER\tDRIVER\tFIGURE\tARITHMETIC\tMEASURED\tOFF\t")
	failed := false
	for i := range rows {
		r := &rows[i]
		verdict := "not judged: a closed loop"
		if r.judged {
			verdict = fmt.Sprintf("ok (%g %%)", r.within)
			if r.off() > r.within {
				verdict, failed = fmt.Sprintf("FAIL (%g %%)", r.within), true
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f\t%.1f\t%.2f %%\t%s\n", r.server, r.driver, r.figure, r.want, r.got, r.off(), verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if failed {
		return errors.New("a figure is off")
	}
	return nil
}

// report is what is read of a load test's.
type report struct {
	Verdict  string
	Requests struct{ Sent, Answered, Failed int64 }
	Latency  map[string]float64
	Search   *struct {
		Rate     float64 `json:"rate_per_second"`
		Failed   float64 `json:"failed_per_second"`
		Estimate float64 `json:"estimate_per_second"`
	}
}

// loadtest runs one against a server of this process.
func loadtest(ctx context.Context, dir, target string, arguments ...string) (report, error) {
	var r report
	args := append([]string{"loadtest", target, "--json", "--failover", "none", "--sticky-sample", "0", "--state-dir", dir}, arguments...)
	cmd := exec.CommandContext(ctx, *program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return r, err
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return r, nil
}

// drivers are those that are tried, each with what it is given besides.
var drivers = []struct {
	name string
	open bool // an open schedule: latencies count from when a request is due
}{{"socket", true}, {"vegeta", true}, {"wrk", false}, {"ab", false}, {"hey", false}}

// there reports whether a program is installed; drivers that are libraries always are.
func there(driver string) bool {
	if driver != "wrk" && driver != "ab" {
		return true
	}
	_, err := exec.LookPath(driver)
	return err == nil
}

// percentiles are those that both reports and arithmetic have.
var percentiles = []struct {
	name string
	part float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}}

// compare runs a load test with each driver and compares percentiles, in milliseconds.
func compare(ctx context.Context, dir, name string, s *server, rate, connections int, within float64, figures []string, arithmetic func(part float64) float64) ([]row, error) {
	var rows []row
	for _, d := range drivers {
		if !there(d.name) {
			continue
		}
		targets := []string{s.url()}
		if d.name == "socket" {
			targets = append(targets, s.lines())
		}
		for _, target := range targets {
			r, err := loadtest(ctx, dir, target, fmt.Sprint(connections), fmt.Sprint(int(duration.Seconds())), "--driver", d.name, "--ping-rate", fmt.Sprint(rate), "--era", "stateless")
			if err != nil {
				return rows, err
			}
			for _, p := range percentiles {
				if !strings.Contains(","+strings.Join(figures, ",")+",", ","+p.name+",") {
					continue
				}
				driver := d.name
				if target == s.lines() {
					driver += " (tcp)"
				}
				rows = append(rows, row{name, driver, p.name, arithmetic(p.part), r.Latency[p.name] / 1000, within, d.open})
			}
		}
	}
	return rows, nil
}

const (
	stallEvery = 10 * time.Second
	stallFor   = 200 * time.Millisecond
)

// stall: of the instants of a period, those of the stall wait for what is left of it.
func stall(ctx context.Context, dir string) ([]row, error) {
	s, err := serve(func(due time.Time) time.Duration {
		if into := due.Sub(epoch) % stallEvery; into < stallFor {
			return stallFor - into
		}
		return 0
	}, nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return compare(ctx, dir, "stall", s, 1000, 200, 2, []string{"p99", "p999"}, func(part float64) float64 {
		waiting := float64(stallFor) / float64(stallEvery)
		return max(0, (part-(1-waiting))/waiting) * stallFor.Seconds() * 1000
	})
}

// quantile is the distribution of known latencies: 100 ms and a tail that halves with each doubling beyond.
func quantile(part float64) time.Duration {
	return time.Duration(float64(100*time.Millisecond) * math.Pow(1-min(part, 0.9999), -0.45))
}

// known: the k-th answer takes what the k-th of a sequence that fills the unit interval evenly says.
func known(ctx context.Context, dir string) ([]row, error) {
	var turns counter
	const golden = 0.6180339887498949
	s, err := serve(func(time.Time) time.Duration {
		_, part := math.Modf(float64(turns.next()) * golden)
		return quantile(part)
	}, nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return compare(ctx, dir, "known", s, 400, 800, 1, []string{"p50", "p90", "p99"}, func(part float64) float64 {
		return quantile(part).Seconds() * 1000
	})
}

// limit: the highest rate that holds is what the server lets through.
func limit(ctx context.Context, dir string) ([]row, error) {
	const most = 1000
	var rows []row
	for _, driver := range []string{"socket", "vegeta"} {
		s, err := serve(nil, newBucket(most))
		if err != nil {
			return nil, err
		}
		r, err := loadtest(ctx, dir, s.url(), "200", "5", "--driver", driver, "--ping-rate", "200", "--era", "stateless", "--find-limit", "p99<=50ms,errors<=0.1%")
		s.close()
		if err != nil {
			return rows, err
		}
		if r.Search == nil {
			return rows, errors.New("there is no search in the report")
		}
		rows = append(rows, row{"limit", driver, "requests/s", most, r.Search.Estimate, 3, true})
	}
	return rows, nil
}
