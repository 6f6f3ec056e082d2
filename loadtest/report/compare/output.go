package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest/report"
)

// BaseText is the value of the base for people, NewText that of the other side.
func (r *Row) BaseText() string { return report.Print(r.Base, r.Unit) }

// NewText is the other side's value for people.
func (r *Row) NewText() string { return report.Print(r.New, r.Unit) }

// ChangeText is the change for people.
func (r *Row) ChangeText() string {
	switch {
	case r.Base == r.New:
		return "="
	case r.Change == nil:
		return "from zero"
	case *r.Change >= 1000:
		return fmt.Sprintf("× %.1f", r.New/r.Base)
	}
	return fmt.Sprintf("%+.1f %%", *r.Change)
}

// MarkText is the mark, or why there is none.
func (r *Row) MarkText() string {
	switch {
	case r.Mark != Same:
		return map[Mark]string{Worse: "▼ worse", Better: "▲ better"}[r.Mark]
	case r.Noise == Unknown:
		return "?"
	}
	return "~"
}

// Shown are the rows to be shown to people, those with a mark first, and how many are left out: they are equal, and nothing
// says how much they vary.
func (c *Comparison) Shown() (rows []*Row, equal int) {
	for i := range c.Rows {
		if r := &c.Rows[i]; r.Base == r.New && r.Noise == Unknown {
			equal++
		} else {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b *Row) int {
		switch {
		case (a.Mark == Same) == (b.Mark == Same):
			return 0
		case a.Mark == Same:
			return 1
		}
		return -1
	})
	return rows, equal
}

// Equal is the note of figures that are left out, if any are.
func Equal(n int) []string {
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("left out: %d figures that are equal on both sides", n)}
}

// PText is the p-value for people.
func (r *Row) PText() string {
	switch {
	case r.P == nil:
		return "–"
	case *r.P < 0.0001:
		return "< 0.0001"
	}
	return fmt.Sprintf("%.4f", *r.P)
}

// Runs are the numbers of runs of both sides.
func (r *Row) Runs() string { return fmt.Sprintf("%d + %d", r.BaseN, r.NewN) }

// judged reports whether the noise of any figure is known.
func (c *Comparison) judged() bool {
	return slices.ContainsFunc(c.Rows, func(r Row) bool { return r.Noise != Unknown })
}

// Summary says in a line what came out.
func (c *Comparison) Summary() string {
	if !c.judged() {
		return "nothing is marked: the noise is not known"
	}
	worse, better := 0, 0
	for _, r := range c.Marked() {
		switch r.Mark {
		case Worse:
			worse++
		case Better:
			better++
		}
	}
	if worse+better == 0 {
		return "no difference beyond the noise"
	}
	return fmt.Sprintf("%d worse, %d better, of %d figures", worse, better, len(c.Rows))
}

// JSON writes the comparison as data.
func (c *Comparison) JSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(c)
}

// Markdown writes it for a pull request.
func (c *Comparison) Markdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### Load tests compared: %s\n\n%s and %s\n", c.Summary(), report.Plain(c.Base), report.Plain(c.New))
	shown, equal := c.Shown()
	for _, w := range c.Warnings {
		fmt.Fprintf(&b, "\n⚠️ %s\n", report.Plain(w))
	}
	report.MarkdownTable(&b, "Figure|>Base|>New|>Change||>p", func(row func(...string)) {
		for _, r := range shown {
			row(r.Path, r.BaseText(), r.NewText(), r.ChangeText(), r.MarkText(), r.PText())
		}
	})
	for _, n := range slices.Concat(Equal(equal), c.Notes) {
		fmt.Fprintf(&b, "\n* %s\n", report.Plain(n))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

var page = report.Template(`{{define "compare"}}{{template "head" .Head}}<body>
<header><h1>{{template "logo"}} erlmcp <span>load tests compared</span></h1></header>
<main>
<section class="verdict {{.Class}}" aria-labelledby="summary"><h2 id="summary">{{.C.Summary}}</h2>
<p>Base: {{.C.Base}}</p><p>New: {{.C.New}}</p></section>
{{if .C.Warnings}}<section aria-labelledby="warnings"><h2 id="warnings">Not the same?</h2><ul class="plain">{{range .C.Warnings}}<li>{{.}}</li>{{end}}</ul></section>{{end}}
<section aria-labelledby="figures"><h2 id="figures">Figures</h2>
<div class="scroll whole" tabindex="0" role="region" aria-labelledby="figures"><table><thead><tr><th scope="col">Figure</th><th scope="col" class="num">Base</th><th scope="col" class="num">New</th>
<th scope="col" class="num">Change</th><th scope="col">Mark</th><th scope="col" class="num">p</th><th scope="col" class="num">Runs</th><th scope="col">Noise by</th></tr></thead>
<tbody>{{range .Rows}}<tr{{with .Mark}} class="{{.}}"{{end}}><th scope="row">{{.Path}}</th><td class="num">{{.BaseText}}</td><td class="num">{{.NewText}}</td><td class="num">{{.ChangeText}}</td>
<td class="mark {{or .Mark "unjudged"}}">{{.MarkText}}</td><td class="num">{{.PText}}</td><td class="num">{{.Runs}}</td><td class="muted">{{.Noise}}</td></tr>
{{end}}</tbody></table></div></section>
<section aria-labelledby="notes"><h2 id="notes">How it was judged</h2><ul class="plain">{{range .Notes}}<li>{{.}}</li>{{end}}</ul></section>
</main>
</body>
</html>
{{end}}`)

// HTML writes a page in the style of reports: it fetches nothing, and needs no script.
func (c *Comparison) HTML(out io.Writer) error {
	class := "pass"
	if !c.judged() {
		class = "inconclusive"
	}
	for _, r := range c.Marked() {
		if r.Mark == Worse {
			class = "fail"
		}
	}
	rows, equal := c.Shown()
	return page.ExecuteTemplate(out, "compare", struct {
		Head  report.Head
		C     *Comparison
		Rows  []*Row
		Notes []string
		Class string
	}{report.NewHead("Load tests compared: " + c.Summary()), c, rows, slices.Concat(Equal(equal), c.Notes), class})
}
