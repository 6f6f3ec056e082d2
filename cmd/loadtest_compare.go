package cmd

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/loadtest/report"
	"github.com/erlmcp/erlmcp/loadtest/report/compare"
)

func newLoadtestCompareCommand(a *app) *cobra.Command {
	var format outputFormat
	var failIf []string
	alpha := compare.DefaultAlpha
	c := &cobra.Command{
		Use:   "compare BASE... [--] NEW...",
		Short: "Say how load tests differ, by more than their noise",
		Long: `compare reads reports of load tests, each a report.json, what "loadtest --json" has printed, or a directory, and says
which figures have become better or worse. Two reports are the base and the new one. Repeats of a run make a better
comparison: put -- between those of the base and the new ones. A directory without a report.json stands for all
reports in it, which are repeats.

What differs by no more than the noise is not marked. With enough repeats (8 a side do) the noise is known by their ranks;
with fewer, by how much they differ; and with single runs, by how much the run varies within itself, which shows large
differences only. Where the noise is not known, nothing is marked. The chance that anything at all is marked where
nothing differs is --alpha.

--fail-if ends with code 1 if a figure changes by more than it may, and by more than the noise: latency.p99>+10%, rate<-5%,
memory.balancer>+20MiB. It can be repeated. Flags go before the --.

Exit codes:

  0  compared
  1  a figure is over a limit of --fail-if
  2  wrong usage, or not a report`,
		Example: `  erlmcp loadtest compare before/report.json after/report.json
  erlmcp loadtest compare -o md --fail-if 'latency.p99>+10%' base/*.json -- new/*.json
  erlmcp loadtest compare reports/base reports/new`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, after, err := sides(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			var limits []compare.Limit
			for _, text := range failIf {
				l, err := compare.ParseLimit(text)
				if err != nil {
					return exit.Hinted(exit.Usagef("--fail-if: %w", err), "write it as FIGURE>+CHANGE or FIGURE<-CHANGE, in percent or a unit")
				}
				limits = append(limits, l)
			}
			return a.compare(before, after, alpha, limits, format)
		},
	}
	format.addOutputFlags(c, "html", "md")
	c.Flags().StringArrayVar(&failIf, "fail-if", nil, "end with code 1 if `EXPR` holds beyond the noise, such as latency.p99>+10%")
	c.Flags().Float64Var(&alpha, "alpha", alpha, "the chance `P` that anything is marked where nothing differs")
	return c
}

// compare compares the reports of some paths, and judges by the limits.
func (a *app) compare(before, after []string, alpha float64, limits []compare.Limit, format outputFormat) error {
	var both [2]compare.Side
	for i, paths := range [][]string{before, after} {
		side, err := readSide(paths)
		if err != nil {
			return err
		}
		both[i] = side
	}
	c, err := compare.Compare(both[0], both[1], compare.Options{Alpha: alpha})
	if err != nil {
		return exit.Hinted(exit.WithCode(exit.Usage, err), "see erlmcp loadtest compare --help")
	}
	var failed []string
	for _, l := range limits {
		exceeds, why, err := c.Exceeds(l)
		switch {
		case err != nil:
			return exit.Hinted(exit.Usagef("--fail-if: %w", err), "name a figure of the table")
		case exceeds:
			failed = append(failed, why)
		case why != "":
			a.notef("%s", why)
		}
	}
	switch format {
	case "html":
		err = c.HTML(a.stdout)
	case "md":
		err = c.Markdown(a.stdout)
	default:
		err = a.print(format, c, func() error { return show.Comparison(a.stdout, c) })
	}
	if err != nil || len(failed) == 0 {
		return err
	}
	for _, why := range failed[:len(failed)-1] {
		a.notef("%s", why)
	}
	return exit.Hinted(exit.Failf("%s", failed[len(failed)-1]), "compare the pages of both runs: erlmcp loadtest report FILE -o html")
}

// sides are the arguments before and behind the --, or both of two.
func sides(args []string, dash int) (before, after []string, err error) {
	if dash < 0 {
		if len(args) > 2 {
			return nil, nil, exit.Hinted(exit.Usagef("these are %d reports, and it is not said which of them are the base", len(args)),
				"put -- between the repeats of the base and the new ones")
		}
		dash = 1
	}
	if dash == 0 || dash == len(args) {
		return nil, nil, exit.Hinted(exit.Usagef("there is no report on one side of the --"), "erlmcp loadtest compare BASE... -- NEW...")
	}
	if slices.Contains(args[dash:], "--") {
		return nil, nil, exit.Hinted(exit.Usagef("there is more than one --"), "compare two sides at a time")
	}
	return args[:dash], args[dash:], nil
}

// readSide reads the repeats of one side. A directory is its report, or all reports in it.
func readSide(paths []string) (compare.Side, error) {
	s := compare.Side{Name: paths[0]}
	var files []string
	for _, path := range paths {
		files = append(files, reportsOf(path)...)
	}
	for _, file := range files {
		r, err := readReport(file)
		if err != nil {
			return s, err
		}
		s.Runs = append(s.Runs, r)
	}
	if len(files) > 1 {
		s.Name = fmt.Sprintf("%s and %s", paths[0], show.Count(len(files)-1, "more report"))
		if len(paths) == 1 {
			s.Name = fmt.Sprintf("%s of %s", show.Count(len(files), "report"), paths[0])
		}
	}
	return s, nil
}

// reportsOf are the files that a path stands for: itself, unless it is a directory of repeats.
func reportsOf(path string) []string {
	found, err := report.Find(path)
	if err != nil || len(found) == 0 {
		return []string{filepath.Clean(path)} // reading it will say what is wrong
	}
	return found
}
