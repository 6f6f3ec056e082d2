// Package term prints for people: colour, tables, and lines that are redrawn while work goes on.
//
// Everything degrades to plain lines when the stream is not a terminal. Whatever is printed to one goes through
// [Escape] on its way: texts of nodes, daemons and files may be in it.
package term

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Output is a stream together with what it can show. It is safe for concurrent use; each Write
// reaches the stream whole.
type Output struct {
	mu       sync.Mutex
	w        io.Writer
	file     *os.File // the terminal, nil when there is none
	terminal bool
	live     bool
	color    bool
	redraw   int // lines below which the cursor stands, to be overwritten by the next drawing
}

// New looks at what w is. Colour needs a terminal that is not "dumb" and no NO_COLOR in the
// environment (https://no-color.org); redrawn lines need a terminal.
func New(w io.Writer) *Output {
	o := &Output{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		o.file, o.terminal = f, true
		o.live = os.Getenv("TERM") != "dumb"
		o.color = o.live && os.Getenv("NO_COLOR") == ""
	}
	return o
}

// Through puts wrap between the output and its stream, without loss of what is known about it.
func (o *Output) Through(wrap func(io.Writer) io.Writer) *Output {
	o.w = wrap(o.w)
	return o
}

// Onto returns an output that prints onto w what would be printed onto o: in colour or not, and nothing redrawn.
func (o *Output) Onto(w io.Writer) *Output { return &Output{w: w, color: o.color} }

// DisableColor turns colour off for good.
func (o *Output) DisableColor() { o.color = false }

// Still turns redrawn lines off for good.
func (o *Output) Still() { o.live = false }

// Color reports whether Paint paints.
func (o *Output) Color() bool { return o.color }

// Live reports whether lines can be redrawn.
func (o *Output) Live() bool { return o.live }

// Terminal is the terminal itself, for programs that take it over; nil when there is none or it shows
// lines only.
func (o *Output) Terminal() *os.File {
	if !o.live {
		return nil
	}
	return o.file
}

// Size returns columns and rows of the terminal; 80 × 24 when there is none.
func (o *Output) Size() (columns, rows int) {
	if o.file != nil {
		if columns, rows, err := term.GetSize(int(o.file.Fd())); err == nil && columns > 0 && rows > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// Write prints p, first taking away a line that was only drawn (see Progress and View).
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.eraseLocked(); err != nil {
		return 0, err
	}
	if !o.terminal {
		return o.w.Write(p)
	}
	if _, err := io.WriteString(o.w, o.Escape(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Escape is [Escape] for what stands behind the output: a text stays as it is where that is no terminal.
func (o *Output) Escape(text string) string {
	if !o.terminal {
		return text
	}
	return Escape(text, o.color)
}

// eraseLocked removes what was drawn and not meant to stay.
func (o *Output) eraseLocked() error {
	if o.redraw == 0 {
		return nil
	}
	_, err := fmt.Fprintf(o.w, "\x1b[%dF\x1b[J", o.redraw)
	o.redraw = 0
	return err
}

// Style is a way to paint a word.
type Style string

// Styles, as ANSI "select graphic rendition" parameters. What they mean is the caller's affair; the
// convention is Green for good, Yellow for on the way or degraded, Red for bad, Dim for beside the point.
const (
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Paint returns text in that style, or text alone where colour is off.
func (o *Output) Paint(s Style, text string) string {
	if !o.color || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
