package show

import (
	"fmt"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest/report/compare"
)

// Comparison prints how load tests differ, for people.
func Comparison(out *term.Output, c *compare.Comparison) error {
	var text strings.Builder
	for _, w := range c.Warnings {
		fmt.Fprintf(&text, "%s %s\n", out.Paint(term.Yellow, "note"), w)
	}
	rows, equal := c.Shown()
	if len(rows) > 0 {
		t := out.Table("FIGURE", ">BASE", ">NEW", ">CHANGE", ">P", "")
		for _, r := range rows {
			style := map[compare.Mark]term.Style{compare.Worse: term.Red, compare.Better: term.Green}[r.Mark]
			mark := r.MarkText()
			if style != "" {
				mark = out.Paint(style, mark)
			}
			t.Row(r.Path, r.BaseText(), r.NewText(), r.ChangeText(), r.PText(), mark)
		}
		fmt.Fprintf(&text, "%s\n", t)
	}
	fmt.Fprintf(&text, "%s\n", c.Summary())
	for _, n := range slices.Concat(compare.Equal(equal), c.Notes) {
		fmt.Fprintf(&text, "note: %s\n", n)
	}
	_, err := fmt.Fprint(out, text.String())
	return err
}
