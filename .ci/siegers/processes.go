package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/proc"
)

// process is one of the program's, as it is at one time.
type process struct {
	pid  int
	name string
	proc.State
}

// processes looks at all that runs as daemon of the system.
func (s *system) processes() (all []process) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is right
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != s.program {
			continue
		}
		dir := filepath.Dir(link)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue // it has ended
		}
		state, err := proc.Read(pid)
		if err != nil {
			continue
		}
		all = append(all, process{pid, roleOf(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")), state})
	}
	slices.SortFunc(all, func(a, b process) int { return a.pid - b.pid })
	return all
}

// busy is what all processors together have computed, for whomever: fields of the first line of /proc/stat, in
// hundredths of a second, without those of waiting, and what another machine beside this one took.
func busy() (sum time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the name, idle, iowait; guests are counted as users
			continue
		}
		n, _ := strconv.ParseInt(field, 10, 64)
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

// roleOf is what a command line says of a process's part, without flags.
func roleOf(args []string) string {
	var words []string
	for i := 1; i < len(args); i++ {
		switch {
		case strings.HasPrefix(args[i], "-"):
			if !strings.Contains(args[i], "=") {
				i++
			}
		default:
			words = append(words, args[i])
		}
	}
	return strings.Join(words, " ")
}

// history is a process's memory, each second.
type history struct {
	name  string
	at    []time.Duration
	rss   []int64
	first time.Duration // what it had computed
	last  process
}

// trend is how a process grows over the second half of what was seen of it.
type trend struct {
	perMinute, grown float64 // as a line through the means of equal pieces has it
	doubt            float64 // by how much grown may be off, one time in twenty to either side: what strangers hold comes and goes
	mean             float64
}

const (
	pieces = 10
	// student is the 95 % quantile of Student's t distribution for pieces − 2 degrees of freedom.
	student = 1.86
)

func (h *history) trend() (t trend) {
	half := len(h.at) / 2
	at, rss := h.at[half:], h.rss[half:]
	if len(at) < 2*pieces {
		return trend{mean: mean(rss)}
	}
	var x, y [pieces]float64
	for i := range pieces {
		from, to := i*len(at)/pieces, (i+1)*len(at)/pieces
		x[i] = (at[from] + at[to-1]).Minutes() / 2
		y[i] = mean(rss[from:to])
	}
	middle, height := mean(x[:]), mean(y[:])
	var across, along, off float64
	for i := range pieces {
		across += (x[i] - middle) * (y[i] - height)
		along += (x[i] - middle) * (x[i] - middle)
	}
	t = trend{perMinute: across / along, mean: height}
	for i := range pieces {
		d := y[i] - height - t.perMinute*(x[i]-middle)
		off += d * d
	}
	span := (at[len(at)-1] - at[0]).Minutes()
	t.grown = t.perMinute * span
	t.doubt = student * math.Sqrt(off/(pieces-2)/along) * span
	return t
}

func mean[N int64 | float64](all []N) (m float64) {
	for _, n := range all {
		m += float64(n) / float64(len(all))
	}
	return m
}
