package term

import "testing"

func TestBar(t *testing.T) {
	for _, c := range []struct {
		value, full float64
		columns     int
		want        string
	}{
		{0, 10, 4, "    "},
		{10, 10, 4, "████"},
		{50, 10, 4, "████"},
		{5, 10, 4, "██  "},
		{0.001, 10, 4, "▏   "},
		{3, 8, 1, "▍"},
		{1, 0, 2, "  "},
		{1, 1, 0, ""},
	} {
		if got := Bar(c.value, c.full, c.columns); got != c.want {
			t.Errorf("Bar(%g, %g, %d) = %q, want %q", c.value, c.full, c.columns, got, c.want)
		}
	}
}

func TestSparkline(t *testing.T) {
	for _, c := range []struct {
		values  []float64
		columns int
		want    string
	}{
		{nil, 3, "   "},
		{[]float64{0, 0}, 3, " ▁▁"},
		{[]float64{1, 2, 4, 8}, 4, "▂▃▅█"},
		{[]float64{1000, 8, -1, 4}, 3, "█×▅"},
		{[]float64{1}, 0, ""},
	} {
		if got := Sparkline(c.values, c.columns); got != c.want {
			t.Errorf("Sparkline(%v, %d) = %q, want %q", c.values, c.columns, got, c.want)
		}
	}
}

func TestPadCountsColumns(t *testing.T) {
	painted := "\x1b[31mdown\x1b[0m"
	for got, want := range map[string]string{
		Pad(painted, 6):     painted + "  ",
		PadLeft(painted, 6): "  " + painted,
		Pad("abcdef", 3):    "ab…",
		Pad("abc", 3):       "abc",
		Cut("abc", 1):       "…",
		Cut("abc", 0):       "",
		Cut(painted, 3):     "\x1b[31mdo\x1b[0m…",
		PadLeft("█", 2):     " █",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
