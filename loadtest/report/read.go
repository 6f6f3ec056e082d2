package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest"
)

// mostBytes is how large a report may be. One with a point for each second of a day, and the histograms of 64 nodes, has
// a tenth of it.
const mostBytes = 256 << 20

// ErrNotReport is wrapped by errors of Read about files that are something else.
var ErrNotReport = errors.New("is not a report of a load test")

// Read reads a report: a file that Write, or a run with --json, has written, or a directory with one.
func Read(path string) (*loadtest.Report, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, jsonFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > mostBytes {
		return nil, fmt.Errorf("%s %w: it is larger than %d MiB", path, ErrNotReport, mostBytes>>20)
	}
	r, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return r, nil
}

// Parse reads the text of a report. Its errors go behind the name of the file.
func Parse(text []byte) (*loadtest.Report, error) {
	var head struct {
		Schema *string `json:"schema"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNotReport, explain(text, err))
	}
	switch {
	case head.Schema == nil:
		return nil, fmt.Errorf("%w: it has no \"schema\"", ErrNotReport)
	case *head.Schema != loadtest.Schema && *head.Schema != loadtest.SchemaV1:
		return nil, fmt.Errorf("%w that this version reads: its schema is %.60q, not %s or %s", ErrNotReport, *head.Schema, loadtest.Schema, loadtest.SchemaV1)
	}
	r := new(loadtest.Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNotReport, explain(text, err))
	}
	switch r.Verdict {
	case loadtest.Pass, loadtest.Fail, loadtest.Inconclusive, loadtest.Interrupted:
	default:
		return nil, fmt.Errorf("%w: its verdict is %.60q", ErrNotReport, r.Verdict)
	}
	return r, histograms(r)
}

// explain says where a text is not what it should be.
func explain(text []byte, err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case len(text) == 0:
		return "it is empty"
	case errors.As(err, &syntax):
		return fmt.Sprintf("byte %d: %v", syntax.Offset, err)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Sprintf("%s is a %s", kind.Field, kind.Value)
	case errors.As(err, &kind):
		return "it is a " + kind.Value
	}
	return err.Error()
}

// histograms makes sure that each can be read.
func histograms(r *loadtest.Report) error {
	check := func(of, name, text string) error {
		if _, err := histogram(text); err != nil {
			return fmt.Errorf("has a histogram of %s %.60q that cannot be read: %w", of, name, err)
		}
		return nil
	}
	all := r.Nodes
	for _, p := range r.Parts {
		all = append(all[:len(all):len(all)], p.Nodes...)
	}
	for _, n := range all {
		if err := check("node", n.Name, n.Histogram); err != nil {
			return err
		}
	}
	for _, s := range r.Steps {
		if err := check("step", s.Name, s.Histogram); err != nil {
			return err
		}
	}
	return nil
}

// widest is the range of latencies that a histogram may have: an hour. What claims more takes memory for it.
const widest = int64(3_600_000_000)

// histogram reads HdrHistogram V2, compressed, base64; it is nil if there is none.
func histogram(text string) (*hdrhistogram.Histogram, error) {
	if text == "" {
		return nil, nil
	}
	h, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		return nil, err
	}
	if h.HighestTrackableValue() > widest {
		return nil, fmt.Errorf("it is for values up to %d", h.HighestTrackableValue())
	}
	return h, nil
}

// Find lists the reports that a path stands for: a file itself; of a directory its report.json, or else those of the
// directories in it and all other files that end in .json, by name.
func Find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if own := filepath.Join(path, jsonFile); !info.IsDir() || isFile(own) {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if filepath.Ext(name) == ".json" && isFile(name) || isFile(filepath.Join(name, jsonFile)) {
			found = append(found, name)
		}
	}
	return found, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
