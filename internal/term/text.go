package term

import (
	"strings"

	"charm.land/lipgloss/v2"
)

// Width is how many columns a text takes that may be painted.
func Width(text string) int { return lipgloss.Width(text) }

// Cut takes from a painted line what goes beyond the columns, and ends what is left in an ellipsis.
func Cut(line string, columns int) string {
	switch {
	case Width(line) <= columns:
		return line
	case columns <= 0:
		return ""
	case columns == 1:
		return "…"
	}
	return lipgloss.NewStyle().MaxWidth(columns-1).Render(line) + "…"
}

// Pad fills a painted text with spaces up to the columns, or cuts it.
func Pad(text string, columns int) string {
	text = Cut(text, columns)
	return text + strings.Repeat(" ", max(columns-Width(text), 0))
}

// PadLeft is Pad for numbers: the spaces are before them.
func PadLeft(text string, columns int) string {
	text = Cut(text, columns)
	return strings.Repeat(" ", max(columns-Width(text), 0)) + text
}

// eighths are blocks of one to eight eighths of a cell, from the left and from below.
var (
	fromLeft  = []rune("▏▎▍▌▋▊▉█")
	fromBelow = []rune("▁▂▃▄▅▆▇█")
)

// Bar is a bar of the given columns, filled by the part that value is of full, to an eighth of a
// column. A value above 0 shows at least that.
func Bar(value, full float64, columns int) string {
	if columns <= 0 {
		return ""
	}
	eighths := 0
	if full > 0 && value > 0 {
		eighths = min(max(int(value/full*float64(columns)*8+0.5), 1), columns*8)
	}
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string(fromLeft[rest-1])
	}
	return bar + strings.Repeat(" ", columns-(eighths+7)/8)
}

// Sparkline shows the last values, one a column, the highest of them as a full block. A negative value
// is a gap, shown as "×".
func Sparkline(values []float64, columns int) string {
	columns = max(columns, 0)
	values = values[max(len(values)-columns, 0):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", columns-len(values)))
	for _, v := range values {
		switch {
		case v < 0:
			b.WriteRune('×')
		case highest == 0:
			b.WriteRune(fromBelow[0])
		default:
			b.WriteRune(fromBelow[min(int(v/highest*8), 7)])
		}
	}
	return b.String()
}
