package term

import (
	"fmt"
	"strings"
)

// Draw shows text until the next Draw, Erase or Write takes its place: a progress line, or a table that is
// watched. Lines wider than the terminal are cut. Without a terminal it does nothing, so that a log
// holds results and no animation.
func (o *Output) Draw(text string) error {
	if !o.live {
		return nil
	}
	columns, rows := o.Size()
	lines := strings.Split(strings.TrimSuffix(o.Escape(text), "\n"), "\n")
	lines = lines[:min(len(lines), rows-1)]

	var b strings.Builder
	for _, line := range lines {
		b.WriteString(Cut(line, columns-1) + "\n")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.eraseLocked(); err != nil {
		return err
	}
	if _, err := o.w.Write([]byte(b.String())); err != nil {
		return err
	}
	o.redraw = len(lines)
	return nil
}

// Drawf draws one formatted line; see Draw.
func (o *Output) Drawf(format string, args ...any) error {
	return o.Draw(fmt.Sprintf(format, args...))
}

// Erase takes away what was drawn.
func (o *Output) Erase() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.eraseLocked()
}
