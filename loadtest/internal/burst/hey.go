package burst

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

const heyName = "hey"

// HeyVersion is that of the library github.com/rakyll/hey which is a part of this program.
const HeyVersion = "0.1.5"

// MostKept is how many answers hey can tell about.
const MostKept = 1_000_000

// hey is the library of that name, in a process that runs this program.
type hey struct{}

func (hey) Name() string { return heyName }

func (hey) Tells() Tells {
	return Tells{
		Known: []Knowledge{Statuses, Tail, Answers, Numbers}, Sources: 1,
		Notes: notes(heyName,
			"hey keeps the latencies of 1,000,000 requests, and ends early then.",
			"hey keeps no more than 500 connections that nothing is asked on: of more, some may be closed and opened again, and latencies have that in them.",
			"hey does not tell which node has answered, follows redirects, and counts bytes where responses declare them only.",
		),
	}
}

// Find finds this program.
func (hey) Find(context.Context) (Program, error) {
	path, err := prefork.Executable()
	return Program{path, HeyVersion}, err
}

func (hey) Fits(j *Job) error {
	if j.Connections > MostKept/2 {
		return advice.With(errors.New("hey keeps one answer for each of so many connections at most"), "use fewer connections")
	}
	return fits(heyName, j, thisMachine)
}

// mostResult is more than a result of hey takes, with its histogram.
const mostResult = 4 << 20

func (h hey) Run(ctx context.Context, j Job) (Result, error) {
	if err := h.Fits(&j); err != nil {
		return Result{}, err
	}
	p, err := h.Find(ctx)
	if err != nil {
		return Result{}, err
	}
	c := command{
		name: heyName, path: p.Path, argv0: "erlmcp", args: []string{"loadtest", "burst"}, stdin: j.encode(),
		patience: j.patience(), most: mostResult,
	}
	o, err := c.run(ctx)
	if err != nil {
		return Result{}, err
	}
	var r Result
	if err := json.Unmarshal(o.stdout, &r); err != nil {
		return Result{}, &ProgramError{heyName, err, ask.Clean(o.stderr)}
	}
	r.Process = o.use
	return r, nil
}
