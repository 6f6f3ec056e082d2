package loadtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/system"

	charm "github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
)

// What agents in networks of their own measure, with clocks that are hours apart, adds up to what all samples together are:
// the same count in each bucket. The samples are those that the agents have recorded, which they write down one by one:
// they are built from the same source with one line more.
func TestAgentsOfSeparateMachines(t *testing.T) {
	for _, program := range []string{"ip", "nsenter", "unshare", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("only root makes namespaces")
	}
	if testing.Short() {
		t.Skip("builds a program")
	}
	if out, err := exec.Command("unshare", "--net", "--time", "--monotonic", "3600", "--fork", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces for networks and clocks here: %v: %s", err, out)
	}
	program := buildAgent(t)
	for _, agents := range []int{2, 4} {
		t.Run(fmt.Sprint(agents), func(t *testing.T) { runInNamespaces(t, program, agents) })
	}
	t.Run("cut off", func(t *testing.T) { partNetwork(t, program) })
}

// buildAgent builds the program so that it writes down each sample.
func buildAgent(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	name, err := filepath.Abs("internal/latency/latency.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const head = "func (l *Recording) Record(scheduled, took int64) {\n"
	changed := strings.Replace(string(source), head, head+"\tfmt.Fprintln(samples, took)\n", 1)
	changed = strings.Replace(changed, "import (\n", "import (\n\t\"os\"\n", 1) + "\nvar samples, _ = os.Create(os.Getenv(\"LATENCY_SAMPLES\"))\n"
	if !strings.Contains(string(source), head) {
		t.Fatal("latency.go does not have the function that this test changes")
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {name: filepath.Join(dir, "latency.go")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"latency.go": changed, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "erlmcp")
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "../cmd/erlmcp")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// otherMachine is what a test takes for another machine: a network with one way out. It is gone when its process is, which
// whoever guards the tests ends if nobody else does.
type otherMachine struct {
	pid        int
	host, addr string // the two ends of the way
}

func startMachine(t *testing.T, i int) otherMachine {
	t.Helper()
	holder := exec.Command("unshare", "--net", "sleep", "600")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	pid := holder.Process.Pid
	ours, _ := os.Readlink("/proc/self/ns/net")
	await(t, "the namespace", func() bool {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		return err == nil && theirs != ours
	})
	// 198.18.0.0/15 is for tests of this kind (RFC 2544). Other runs of this test have other parts of it.
	n := (os.Getpid()%2048)*64 + 4*i
	at := func(end int) string { return fmt.Sprintf("198.%d.%d.%d", 18+n>>16, n>>8&255, n&255+end) }
	m := otherMachine{pid, at(1), at(2)}
	link := m.link()
	inside := []string{"nsenter", "-t", fmt.Sprint(pid), "-n"}
	for _, command := range [][]string{
		{"ip", "link", "add", link, "type", "veth", "peer", "name", "out", "netns", fmt.Sprint(pid)},
		{"ip", "address", "add", m.host + "/30", "dev", link},
		{"ip", "link", "set", link, "up"},
		append(inside, "ip", "address", "add", m.addr+"/30", "dev", "out"),
		append(inside, "ip", "link", "set", "out", "up"),
		append(inside, "ip", "route", "add", "default", "via", m.host),
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", command, err, out)
		}
	}
	return m
}

// link is our end of the way there.
func (m otherMachine) link() string { return fmt.Sprintf("lt%d", m.pid) }

// run runs a program there, whose monotonic clock is ahead.
func (m otherMachine) run(t *testing.T, ahead time.Duration, env []string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), "nsenter", append([]string{"-t", fmt.Sprint(m.pid), "-n", "unshare", "--time", "--monotonic",
		fmt.Sprint(int(ahead.Seconds())), "--fork", "--kill-child"}, args...)...)
	c.Env, c.Stderr = append(os.Environ(), env...), os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// runOnMachines runs a spec with one agent on each machine, where clocks are hours apart.
func runOnMachines(t *testing.T, s Spec, o Options, machines []otherMachine, program, samples string) (*Report, []error) {
	t.Helper()
	said, log := io.Pipe()
	t.Cleanup(func() { log.Close() })
	o.Token, o.Log = "secret", charm.New(log)
	s.Listen, s.SourceIPs, s.Agents, s.RemoteAgents, s.Failover, s.StickySample = machines[0].host+":0", "", 0, len(machines), system.FaultNone, 0
	ended := make(chan error, len(machines))
	go func() {
		join, pin, _, err := told(said)
		for i, m := range machines {
			if err != nil {
				ended <- err
				continue
			}
			env := []string{"LATENCY_SAMPLES=" + filepath.Join(samples, fmt.Sprint(i)), "ERLMCP_STATE_DIR=" + t.TempDir(), TokenVariable + "=secret"}
			c := m.run(t, []time.Duration{10 * time.Hour, 0, 1000 * time.Hour, 20 * time.Minute}[i], env, program, "loadtest", "agent", "--join", join, "--pin", pin)
			go func() { ended <- c.Wait() }()
		}
	}()
	r := mustRun(t, s, o)
	var errs []error
	for range machines {
		errs = append(errs, <-ended)
	}
	return r, errs
}

// serveOutside has a fake be reached from other machines.
func serveOutside(t *testing.T, f *fake, m otherMachine) net.Listener {
	t.Helper()
	outside, err := net.Listen("tcp", m.host+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { outside.Close() })
	f.served.Go(func() {
		for {
			c, err := outside.Accept()
			if err != nil {
				return
			}
			f.served.Go(func() { f.serve(c) })
		}
	})
	return outside
}

// An agent whose machine is cut off is given up, and gives up. The others go on.
func partNetwork(t *testing.T, program string) {
	var machines []otherMachine
	for i := range 3 {
		machines = append(machines, startMachine(t, i))
	}
	f := startFake(t, 1)
	s := testSpec(f, 60, bus.Silence+5*time.Second)
	s.Target = serveOutside(t, f, machines[0]).Addr().String()
	cut := false
	r, errs := runOnMachines(t, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseHold && p.Done > 0 && !cut {
			cut = true
			if out, err := exec.Command("ip", "link", "set", machines[2].link(), "down").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}}, machines, program, t.TempDir())
	var exit *exec.ExitError
	lost := 0
	for _, err := range errs {
		if errors.As(err, &exit) {
			lost++
		} else if err != nil {
			t.Error(err)
		}
	}
	if failed(r) != "" || lost != 1 || len(r.LostAgents) != 1 || !strings.Contains(r.LostAgents[0].Why, "not heard of for 15s") {
		t.Errorf("%s, %d agents with errors, %+v", failed(r), lost, r.LostAgents)
	}
	if c, q := r.Connections, r.Requests; c.Target != 40 || c.Verified != 40 || c.Dropped != 0 || q.Answered != q.Sent || q.Sent == 0 {
		t.Errorf("%+v %+v", c, q)
	}
}

func runInNamespaces(t *testing.T, program string, agents int) {
	dir := t.TempDir()
	var machines []otherMachine
	for i := range agents {
		machines = append(machines, startMachine(t, i))
	}
	f := startFake(t, 1)
	f.foreign = func(mcp.Envelope) string {
		time.Sleep(time.Duration(rand.ExpFloat64() * float64(3*time.Millisecond)))
		return `"result":{"content":[{"type":"text","text":"node1"}]}`
	}
	outside := serveOutside(t, f, machines[0])
	s := testSpec(f, 20*agents, 2*time.Second)
	s.Target, s.PingRate = outside.Addr().String(), 1500
	r, errs := runOnMachines(t, s, Options{System: f}, machines, program, dir)
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if failed(r) != "" || r.Connections.Verified != 20*agents || len(r.LostAgents) > 0 {
		t.Fatalf("%s %+v", failed(r), r.Connections)
	}
	if c := r.Connections; c.RampMs <= 0 || c.RampMs > float64(testPatience.Milliseconds()) {
		t.Errorf("the ramp took %g ms: clocks matter", c.RampMs)
	}
	merged, err := latency.Message{Histogram: r.Nodes[0].Histogram}.Recording()
	if err != nil {
		t.Fatal(err)
	}
	var samples []int64
	for i := range agents {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil || len(text) == 0 {
			t.Fatalf("the samples of agent %d: %v", i, err)
		}
		for line := range strings.Lines(string(text)) {
			took, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			samples = append(samples, took)
		}
	}
	// An agent may record an answer several times in a row: by node, and by step.
	times := len(samples) / int(max(merged.Histogram.TotalCount(), 1))
	if times == 0 {
		t.Fatalf("%d samples, %d in the report", len(samples), merged.Histogram.TotalCount())
	}
	all := latency.NewHistogram()
	for i := 0; i < len(samples); i += times {
		latency.Record(all, samples[i])
	}
	want, got := all.Distribution(), merged.Histogram.Distribution()
	if all.TotalCount() < 1000 || len(want) != len(got) {
		t.Fatalf("%d samples in %d buckets, %d in the report", all.TotalCount(), len(want), len(got))
	}
	for i := range want {
		if want[i] != got[i] {
			t.Errorf("bucket %+v of the samples, %+v of the report", want[i], got[i])
		}
	}
	if together := quantiles(all); together != r.Nodes[0].Latency {
		t.Errorf("all samples: %+v\nthe report: %+v", together, r.Nodes[0].Latency)
	}
	t.Logf("%d samples of %d agents in %d buckets: %+v", all.TotalCount(), agents, len(got), r.Nodes[0].Latency)
}
