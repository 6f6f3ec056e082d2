package term

import (
	"fmt"
	"strings"
)

// Table collects rows and prints them with aligned columns, two spaces between them.
type Table struct {
	out    *Output
	right  []bool
	widths []int
	rows   [][]string
}

// Table begins a table with these column titles. A title that starts with ">" aligns its column to
// the right, as numbers want it.
func (o *Output) Table(titles ...string) *Table {
	t := &Table{out: o, right: make([]bool, len(titles)), widths: make([]int, len(titles))}
	header := make([]any, len(titles))
	for i, title := range titles {
		title, t.right[i] = strings.CutPrefix(title, ">")
		header[i] = o.Paint(Bold, title)
	}
	t.Row(header...)
	return t
}

// Row adds a row. Cells are printed as fmt.Sprint does and may be painted; missing ones are empty.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(t.widths))
	for i := range min(len(cells), len(row)) {
		row[i] = t.out.Escape(fmt.Sprint(cells[i]))
		t.widths[i] = max(t.widths[i], Width(row[i]))
	}
	t.rows = append(t.rows, row)
}

// String returns the table as lines, each ended by a newline and without trailing spaces.
func (t *Table) String() string {
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			padding := strings.Repeat(" ", t.widths[i]-Width(cell))
			if t.right[i] {
				line.WriteString(padding + cell)
			} else {
				line.WriteString(cell + padding)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// Flush prints the table.
func (t *Table) Flush() error {
	_, err := t.out.Write([]byte(t.String()))
	return err
}
