package main

import (
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

// growth is by how much a process grows over the second half of what was seen of it, as the median of the slopes
// between each two samples has it, which jumps of a collected heap do not move; and how large it was in the mean.
func (h *history) growth() (perMinute, grown, mean float64) {
	half := len(h.at) / 2
	at, rss := h.at[half:], h.rss[half:]
	var slopes []float64
	for i := range at {
		mean += float64(rss[i]) / float64(len(rss))
		for j := range i {
			if span := at[i] - at[j]; span > 0 {
				slopes = append(slopes, float64(rss[i]-rss[j])/span.Minutes())
			}
		}
	}
	if len(slopes) == 0 {
		return 0, 0, mean
	}
	slices.Sort(slopes)
	perMinute = slopes[len(slopes)/2]
	return perMinute, perMinute * (at[len(at)-1] - at[0]).Minutes(), mean
}
