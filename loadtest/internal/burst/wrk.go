package burst

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

const wrkName = "wrk"

// wrk is the program of that name.
type wrk struct{}

func (wrk) Name() string { return wrkName }

func (wrk) Tells() Tells {
	return Tells{
		Known: []Knowledge{Statuses, Nodes, Tail, Numbers}, Sources: 1,
		Notes: notes(wrkName,
			"wrk adds latencies that it has not measured where answers took long, as an estimate of those left out: percentiles are between what was and what should have been measured.",
			"wrk does not tell the latency of answers from that of other responses, and gives up no request: one that is never answered is not counted.",
		),
	}
}

func (wrk) Find(ctx context.Context) (Program, error) {
	return find(ctx, wrkName, "--version", wrkVersion)
}

var wrkVersions = regexp.MustCompile(`(?m)^wrk[ \t]+(?:\S*?/)?v?(\d+)(\.[0-9A-Za-z.+-]+)?`)

// wrkVersion reads what wrk says of itself. Some builds know no version.
func wrkVersion(said string) (string, error) {
	switch {
	case !strings.Contains(said, "Usage: wrk"):
		return "", errors.New("is no wrk that is known here")
	case strings.Contains(said, "--rate"):
		return "", errors.New("is wrk2, which needs a rate")
	}
	m := wrkVersions.FindStringSubmatch(said)
	if m == nil {
		return "", nil
	}
	if major, err := strconv.Atoi(m[1]); err != nil || major < 4 {
		return "", fmt.Errorf("is version %s%s, which cannot count by node; 4.0.0 can", m[1], m[2])
	}
	return m[1] + m[2], nil
}

func (wrk) Fits(j *Job) error { return fits(wrkName, j, thisMachine) }

// mostPrinted is far more than a program prints of a result.
const mostPrinted = 1 << 20

func (w wrk) Run(ctx context.Context, j Job) (Result, error) {
	if err := w.Fits(&j); err != nil {
		return Result{}, err
	}
	p, err := w.Find(ctx)
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp("", "erlmcp-burst-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "burst.lua")
	if err := os.WriteFile(script, wrkScript(&j), 0o600); err != nil {
		return Result{}, err
	}
	c := command{
		name: wrkName, path: p.Path, patience: j.patience(), most: mostPrinted,
		args: []string{
			"-t", strconv.Itoa(wrkThreads(j.Connections, runtime.NumCPU())), "-c", strconv.Itoa(j.Connections),
			"-d", strconv.Itoa(Seconds(j.Duration)) + "s", "--timeout", strconv.Itoa(j.MaxTimeout()) + "s", "-s", script, wrkURL(&j),
		},
	}
	o, err := c.run(ctx)
	if err != nil {
		return Result{}, err
	}
	r, err := parseWrk(o.stdout)
	if err != nil {
		return Result{}, &ProgramError{wrkName, err, ask.Clean(o.stderr)}
	}
	r.Process = o.use
	return r, nil
}

// wrkThreads is the most that divide the connections: what does not divide, wrk leaves out.
func wrkThreads(connections, cores int) int {
	n := min(connections, cores)
	for connections%n != 0 {
		n--
	}
	return n
}

// wrkURL has the name in it where TLS says it. The script has the address.
func wrkURL(j *Job) string {
	u := j.URL()
	if j.Endpoint.Secure {
		name := j.Endpoint.ServerName()
		if strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		u.Host = name + ":" + strconv.Itoa(int(j.Endpoint.Address.Port()))
	}
	return u.String()
}

//go:embed wrk.lua
var wrkCounts string

// wrkScript is what wrk does in the words of Lua. It has the secrets of the job.
func wrkScript(j *Job) []byte {
	var b bytes.Buffer
	a := j.Endpoint.Address
	fmt.Fprintf(&b, "local address, port = %s, %q\n", luaString(a.Addr().String()), strconv.Itoa(int(a.Port())))
	fmt.Fprintf(&b, "local place, first = %s, %d\n", luaString(j.Number), int64(FirstNumber))
	fmt.Fprintf(&b, "wrk.method = \"POST\"\nwrk.body = %s\n", luaString(string(j.Body)))
	fmt.Fprintf(&b, "wrk.headers[\"Host\"] = %s\n", luaString(j.Host()))
	for _, f := range j.Fields() {
		fmt.Fprintf(&b, "wrk.headers[%s] = %s\n", luaString(f.Name), luaString(f.Value))
	}
	b.WriteString(wrkCounts)
	return b.Bytes()
}

// luaString is a string as Lua reads it, with all that could mean something there escaped.
func luaString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '"' && c != '\\' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
