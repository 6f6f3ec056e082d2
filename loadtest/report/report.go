// Package report writes what a load test has measured for those who read it: people, spreadsheets, pull requests and
// Prometheus. And it reads reports again.
package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/internal/wholefile"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

const jsonFile = "report.json"

// Format is a way to write a report.
type Format struct {
	Name  string // also of its option
	File  string // in a directory of all
	Write func(io.Writer, *loadtest.Report) error
}

// Formats are all ways. The JSON comes last: a directory that has it is complete.
var Formats = []Format{
	{"csv", "report.csv", CSV},
	{"series", "series.csv", SeriesCSV},
	{"md", "report.md", Markdown},
	{"html", "report.html", HTML},
	{"prom", "report.prom", Prometheus},
	{"json", jsonFile, JSON},
}

// Write writes a report in all formats into a directory, which it makes if need be. If one cannot be written, none is; and
// each file is whole at any time.
func Write(dir string, r *loadtest.Report) error {
	texts := make([][]byte, len(Formats))
	for i, f := range Formats {
		var text bytes.Buffer
		if err := f.Write(&text, r); err != nil {
			return fmt.Errorf("%s: %w", f.File, err)
		}
		texts[i] = text.Bytes()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, f := range Formats {
		if err := wholefile.Write(filepath.Join(dir, f.File), texts[i], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// JSON writes the report itself, as a run with --json does.
func JSON(out io.Writer, r *loadtest.Report) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// CSV writes a line for each figure: what it is of, its name, value and unit.
func CSV(out io.Writer, r *loadtest.Report) error {
	w := csv.NewWriter(out)
	_ = w.Write([]string{"group", "of", "figure", "value", "unit"}) // errors stay
	for _, f := range Figures(r) {
		_ = w.Write([]string{f.Group, cell(f.Of), f.Name, number(f.Value), f.Unit})
	}
	w.Flush()
	return w.Error()
}

// SeriesCSV writes a line for each point of the series, with a column for each node and cause of errors.
func SeriesCSV(out io.Writer, r *loadtest.Report) error {
	var points []series.Point
	if r.Series != nil {
		points = r.Series.Points
	}
	nodes, causes := make(map[string]bool), make(map[string]bool)
	for _, p := range points {
		for n := range p.Nodes {
			nodes[n] = true
		}
		for c := range p.ByCause {
			causes[c] = true
		}
	}
	nodeNames, causeNames := slices.Sorted(maps.Keys(nodes)), slices.Sorted(maps.Keys(causes))
	row := []string{
		"at_s", "phase", "connections", "answers_per_second", "errors_per_second", "mean_us", "p50_us", "p99_us",
		"balancer_cpu_percent", "nodes_cpu_percent", "agents_cpu_percent", "balancer_rss_bytes",
	}
	for _, n := range nodeNames {
		row = append(row, "connections of "+n)
	}
	for _, c := range causeNames {
		row = append(row, "errors: "+c)
	}
	w := csv.NewWriter(out)
	_ = w.Write(row) // errors stay
	for _, p := range points {
		row = append(row[:0], number(p.AtS), cell(string(p.Phase)), strconv.Itoa(p.Connections), number(p.Answers), number(p.Errors),
			maybe(p.MeanUs), maybe(p.P50Us), maybe(p.P99Us), maybe(p.BalancerCPU), maybe(p.NodesCPU), maybe(p.AgentsCPU), maybe(p.BalancerRSS))
		for _, n := range nodeNames {
			row = append(row, strconv.Itoa(p.Nodes[n]))
		}
		for _, c := range causeNames {
			row = append(row, strconv.FormatInt(p.ByCause[c], 10))
		}
		_ = w.Write(row)
	}
	w.Flush()
	return w.Error()
}

// cell is a text that a spreadsheet does not take for a formula.
func cell(text string) string {
	if strings.IndexAny(text, "=+-@\t\r") == 0 {
		return "'" + text
	}
	return text
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// maybe is a number, or nothing.
func maybe[T int64 | float64](v *T) string {
	if v == nil {
		return ""
	}
	return number(float64(*v))
}
