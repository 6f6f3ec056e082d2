package term

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// terminal returns an Output that believes to stand on a terminal, and what was written to it.
func terminal() (*Output, *bytes.Buffer) {
	var buf bytes.Buffer
	o := New(&buf)
	o.live, o.color = true, true
	return o, &buf
}

func TestPlainOutputHasNoEscapes(t *testing.T) {
	var buf bytes.Buffer
	o := New(&buf)
	if err := o.Draw("working"); err != nil {
		t.Fatal(err)
	}
	tab := o.Table("NODE", ">CONNECTIONS", "NOTE")
	tab.Row(o.Paint(Green, "erlmcp1"), 25000)
	tab.Row("erlmcp2", 7, "draining")
	if err := tab.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "NODE     CONNECTIONS  NOTE\n" +
		"erlmcp1        25000\n" +
		"erlmcp2            7  draining\n"
	if buf.String() != want {
		t.Errorf("got\n%s\nwant\n%s", buf.String(), want)
	}
}

func TestPaintedCellsAlign(t *testing.T) {
	o, buf := terminal()
	tab := o.Table(">N", "STATE")
	tab.Row(1, o.Paint(Red, "down"))
	tab.Row(10, o.Paint(Green, "up"))
	if err := tab.Flush(); err != nil {
		t.Fatal(err)
	}
	want := " \x1b[1mN\x1b[0m  \x1b[1mSTATE\x1b[0m\n" +
		" 1  \x1b[31mdown\x1b[0m\n" +
		"10  \x1b[32mup\x1b[0m\n"
	if buf.String() != want {
		t.Errorf("got\n%q\nwant\n%q", buf.String(), want)
	}
}

func TestDisableColor(t *testing.T) {
	o, _ := terminal()
	o.DisableColor()
	if got := o.Paint(Bold, "x"); got != "x" || o.Color() {
		t.Errorf("painted %q after DisableColor", got)
	}
}

func TestDrawnLinesGiveWay(t *testing.T) {
	o, buf := terminal()
	for _, step := range []func() error{
		func() error { return o.Drawf("%d of 4", 1) },
		func() error { return o.Draw("a\nb\n") },
		func() error { _, err := io.WriteString(o, "ready\n"); return err },
		o.Erase,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	want := "1 of 4\n" + "\x1b[1F\x1b[J" + "a\nb\n" + "\x1b[2F\x1b[J" + "ready\n"
	if buf.String() != want {
		t.Errorf("got\n%q\nwant\n%q", buf.String(), want)
	}
}

func TestDrawCutsWideLines(t *testing.T) {
	o, buf := terminal()
	long := bytes.Repeat([]byte("x"), 200)
	if err := o.Draw(string(long)); err != nil {
		t.Fatal(err)
	}
	if got := buf.String(); Width(got) != 79 || !strings.HasSuffix(got, "x…\n") {
		t.Errorf("drew %q on 80 columns", got)
	}
}

func TestThroughKeepsErrors(t *testing.T) {
	broken := errors.New("broken")
	o := New(io.Discard).Through(func(io.Writer) io.Writer { return failing{broken} })
	if _, err := o.Write([]byte("x")); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
