package burst

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

const abName = "ab"

// ab is ApacheBench, the program of that name.
type ab struct{}

func (ab) Name() string { return abName }

func (ab) Tells() Tells {
	return Tells{
		Sources: 1,
		Notes: notes(abName,
			"ab speaks HTTP/1.0, after which many servers close the connection: then latencies have a new connection in them.",
			"ab does not tell which statuses refuse, nor the latency of answers from that of other responses and of failures, nor percentiles beyond the 99th.",
			"ab sends the same request each time: a server that takes a number once in a session refuses some.",
			"ab ends without a result when nothing comes within the time-out.",
			"ab has one thread: from some tens of thousands of requests a second on, it measures itself.",
		),
	}
}

func (ab) Find(ctx context.Context) (Program, error) { return find(ctx, abName, "-V", abVersion) }

var abVersions = regexp.MustCompile(`ApacheBench, Version (\d[0-9A-Za-z.-]*)(?: <\$Revision: (\d+) \$>)?`)

// abVersion reads what ab says of itself.
func abVersion(said string) (string, error) {
	m := abVersions.FindStringSubmatch(said)
	switch {
	case m == nil:
		return "", errors.New("is no ApacheBench")
	case m[2] != "":
		return m[1] + " (revision " + m[2] + ")", nil
	}
	return m[1], nil
}

// mostOfAB is how many connections ab takes, whatever the machine has.
const mostOfAB = 20_000

func (ab) Fits(j *Job) error {
	const others = "choose the driver wrk or hey"
	switch {
	case len(j.Endpoint.Header) > 0:
		return advice.With(fmt.Errorf("ab takes header fields, such as %s, on its command line only, where every user of this machine can read them", j.Endpoint.Header[0].Name), others)
	case j.Number != "":
		return advice.With(errors.New("ab sends the same request again and again, where each needs a number of its own"), others)
	case j.Connections > mostOfAB:
		return advice.With(fmt.Errorf("ab takes %d connections at most, not %d", mostOfAB, j.Connections), others+", or fewer connections")
	}
	return fits(abName, j, thisMachine)
}

// mostTable is far more than the table of percentiles has.
const mostTable = 64 << 10

func (a ab) Run(ctx context.Context, j Job) (Result, error) {
	if err := a.Fits(&j); err != nil {
		return Result{}, err
	}
	p, err := a.Find(ctx)
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp("", "erlmcp-burst-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	body, table := filepath.Join(dir, "body"), filepath.Join(dir, "percentiles.csv")
	if err := os.WriteFile(body, j.Body, 0o600); err != nil {
		return Result{}, err
	}
	c := command{name: abName, path: p.Path, args: abArguments(&j, body, table), patience: j.patience(), most: mostPrinted}
	o, err := c.run(ctx)
	if err != nil {
		return Result{}, err
	}
	percentiles, err := readTable(table)
	if err != nil {
		return Result{}, &ProgramError{abName, err, ask.Clean(o.stderr)}
	}
	r, err := parseAB(o.stdout, percentiles)
	if err != nil {
		return Result{}, &ProgramError{abName, err, ask.Clean(o.stderr)}
	}
	r.Process = o.use
	return r, nil
}

// readTable is empty when ab has written none, as it does without a request.
func readTable(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mostTable))
}

// fastestAB is more requests a second than ab can do, and mostRequests how many it has room for, at 32 bytes each.
const (
	fastestAB    = 200_000
	mostRequests = 50_000_000
)

func abArguments(j *Job, body, table string) []string {
	seconds := Seconds(j.Duration)
	requests := max(min(fastestAB*seconds, mostRequests), j.Connections)
	args := []string{
		"-q", "-l", "-r", "-k", // quiet; answers differ in length; errors do not end it; connections stay
		"-c", strconv.Itoa(j.Connections), "-s", strconv.Itoa(j.MaxTimeout()),
		"-t", strconv.Itoa(seconds), "-n", strconv.Itoa(requests), // in this order: -t sets a number as well
		"-p", body, "-e", table, "-H", "Host: " + j.Host(),
	}
	for _, f := range j.Fields() {
		if f.Name == contentType {
			args = append(args, "-T", f.Value)
			continue
		}
		args = append(args, "-H", f.Name+": "+f.Value)
	}
	return append(args, j.URL().String())
}
