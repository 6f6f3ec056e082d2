package cmd

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

var (
	floodRate = flag.Int("flood.rate", 64, "MiB per second that a node logs in TestFlood; 0 is as fast as it can")
	floodSize = flag.Int("flood.size", 192, "MiB that it logs")
)

// floodNode is a node beside which another program prints: in node a it floods, in node b it counts.
const floodNode = `cd "$1"
if test "$2" = a; then flood "$6" flooded & else counter & fi
erlmcp node serve --name "$2" --host 127.0.0.1 --tcp "$3" --http "$4" --sse "$5" >/dev/null 2>&1 &
node=$!
trap 'kill $node' TERM
wait $node
wait $node
`

// TestFlood has a node log 64 MiB per second: the supervisor stays small and answers, the node is neither held
// up nor restarted, files are rotated within their bounds, and no line is lost, this node's or another's.
//
//	go test ./cmd -run TestFlood -v -flood.rate 0 -flood.size 4000
func TestFlood(t *testing.T) {
	const maxSize, keep = 8 << 20, 3
	c := newHeldCluster(t)
	if err := os.WriteFile(filepath.Join(c.dir, "node.sh"), []byte(floodNode), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "ERLMCP_CLUSTER_COMMAND_ARGV=sh,"+filepath.Join(c.dir, "node.sh")+","+c.dir+",{name},{tcp},{http},{sse},"+strconv.Itoa(*floodRate),
		fmt.Sprintf("ERLMCP_CLUSTER_LOGS_MAX_SIZE=%dMiB", maxSize>>20), fmt.Sprintf("ERLMCP_CLUSTER_LOGS_KEEP=%d", keep))
	c.must("cluster", "start")
	before := c.status()
	use := processUse(t, before.PID)
	begun, from := time.Now(), c.flooded()

	var answers []time.Duration
	most := int64(0)
	waittest.For(t, time.Minute, "MiB of the node are logged", func() (flooded int, enough bool) {
		asked := time.Now()
		if s := c.status(); !s.Healthy() {
			t.Fatalf("status is %+v", s)
		}
		answers = append(answers, time.Since(asked))
		size, files := c.logSize("a")
		if most = max(most, size); files > keep+1 {
			t.Fatalf("%d files are kept", files)
		}
		flooded = c.flooded() - from
		return flooded, flooded >= *floodSize
	})
	took := time.Since(begun)
	now := processUse(t, before.PID)
	slices.Sort(answers)
	t.Logf("%d MiB in %v, %.0f MiB/s; supervisor: CPU %v (%.0f%% of a core), RSS %v → %v (peak %v), PSS %v; %d answers, median %v, slowest %v; logs at most %v",
		*floodSize, took.Round(time.Millisecond), float64(c.flooded()-from)/took.Seconds(), now.cpu-use.cpu, 100*(now.cpu-use.cpu).Seconds()/took.Seconds(),
		use.rss, now.rss, now.peak, now.pss, len(answers), answers[len(answers)/2], answers[len(answers)-1], units.Bytes(most))
	if grown := now.peak - use.rss; grown > 48*units.MiB {
		t.Errorf("the supervisor grew by %v", grown)
	}
	if median := answers[len(answers)/2]; median > time.Second {
		t.Errorf("the supervisor answers after %v", median)
	}
	if most > maxSize*(keep+1) {
		t.Errorf("%v of logs are kept", units.Bytes(most))
	}
	for i, n := range c.status().Nodes {
		if n.PID != before.Nodes[i].PID || n.Restarts > 0 || n.LogLost > 0 {
			t.Errorf("node was %+v, is %+v", before.Nodes[i], n)
		}
	}
	c.must("cluster", "stop")
	c.nothingIsLeft()
	if n := c.consecutive("a", "flood "); n < maxSize*(keep-1)/128 {
		t.Errorf("%d lines of the flood are kept", n)
	}
	if n := c.consecutive("b", "count "); n < int(took/(100*time.Millisecond)) {
		t.Errorf("%d lines of the other node are kept", n)
	}
}

// flooded is how many MiB the node has logged.
func (c heldCluster) flooded() int {
	c.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "flooded"))
	if os.IsNotExist(err) {
		return 0
	}
	n, bad := strconv.Atoi(string(text))
	if err != nil || bad != nil {
		c.Fatal(err, bad)
	}
	return n
}

// logSize is what there is of a node's log. Files may be renamed while they are looked at.
func (c heldCluster) logSize(node string) (bytes int64, files int) {
	c.Helper()
	names, err := filepath.Glob(filepath.Join(c.dir, "logs", node+".log*"))
	if err != nil {
		c.Fatal(err)
	}
	var seen []os.FileInfo
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || slices.ContainsFunc(seen, func(other os.FileInfo) bool { return os.SameFile(info, other) }) {
			continue
		}
		seen = append(seen, info)
		bytes += info.Size()
	}
	return bytes, len(seen)
}

// consecutive requires that the numbers on the lines of a node are without a gap, and counts them. The last
// line may have been cut off by the end of the program.
func (c heldCluster) consecutive(node, prefix string) (lines int) {
	c.Helper()
	var files []io.Reader
	for i := 3; i >= 0; i-- {
		name := filepath.Join(c.dir, "logs", node+".log")
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		if f, err := os.Open(name); err == nil {
			defer f.Close()
			files = append(files, f)
		}
	}
	in := bufio.NewScanner(io.MultiReader(files...))
	last, bad := -1, ""
	for in.Scan() {
		rest, ok := strings.CutPrefix(in.Text(), prefix)
		if !ok {
			continue
		}
		if bad != "" {
			c.Fatalf("%s: after line %d comes %q", node, last, bad)
		}
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil || last >= 0 && n != last+1 {
			bad = in.Text()
			continue
		}
		last = n
		lines++
	}
	if err := in.Err(); err != nil {
		c.Fatal(err)
	}
	return lines
}

// use is what a process takes.
type use struct {
	rss, peak, pss units.Bytes
	cpu            time.Duration
}

func processUse(t *testing.T, pid int) (u use) {
	t.Helper()
	for file, fields := range map[string]map[string]*units.Bytes{
		"status":       {"VmRSS:": &u.rss, "VmHWM:": &u.peak},
		"smaps_rollup": {"Pss:": &u.pss},
	} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 && fields[f[0]] != nil {
				kib, _ := strconv.Atoi(f[1])
				*fields[f[0]] = units.Bytes(kib) * units.KiB
			}
		}
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	for _, f := range strings.Fields(rest)[11:13] { // utime and stime, in hundredths of a second
		ticks, _ := strconv.Atoi(f)
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	return u
}
