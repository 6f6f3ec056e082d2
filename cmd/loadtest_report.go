package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report"
)

func newLoadtestReportCommand(a *app) *cobra.Command {
	var format outputFormat
	var dir string
	c := &cobra.Command{
		Use:   "report FILE",
		Short: "Print the report of a load test, or write it in other forms",
		Long: `report reads what an earlier load test has measured: a report.json, what "loadtest --json" has printed, or a directory
with a report.json. It prints it as the load test did, or in another form; with --report it writes all forms into a
directory.

  html    one page with charts, which fetches nothing and can be printed
  md      for a pull request
  csv     a line for each figure
  series  a line for each second, as CSV
  prom    for the textfile collector of Prometheus`,
		Example: `  erlmcp loadtest report reports/monday
  erlmcp loadtest report run.json -o html > run.html
  erlmcp loadtest report run.json --report reports/monday`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := readReport(args[0])
			if err != nil {
				return err
			}
			if dir != "" {
				return report.Write(dir, r)
			}
			i := slices.IndexFunc(report.Formats, func(f report.Format) bool { return f.Name == string(format) })
			if i < 0 || format == "json" {
				return a.print(format, r, func() error { return show.Loadtest(a.stdout, r) })
			}
			return report.Formats[i].Write(a.stdout, r)
		},
	}
	format.addOutputFlags(c, "html", "md", "csv", "series", "prom")
	c.Flags().StringVar(&dir, "report", "", "write all forms into the directory `DIR` instead")
	return c
}

// readReport reads a report that the command line names.
func readReport(path string) (*loadtest.Report, error) {
	r, err := report.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, exit.Hinted(exit.WithCode(exit.Usage, exit.PlainPath(err)), "name a report.json, or a directory with one, as loadtest --report writes them")
	case errors.Is(err, report.ErrNotReport):
		return nil, exit.Hinted(exit.WithCode(exit.Usage, err), `name what "loadtest --json" has printed, or loadtest --report has written`)
	case err != nil:
		return nil, exit.Hinted(exit.WithCode(exit.Usage, fmt.Errorf("read the report: %w", err)), "see whether the file can be read")
	}
	return r, nil
}
