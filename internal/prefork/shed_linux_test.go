package prefork

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const smaps = `00400000-00bc4000 r-xp 00000000 fe:00 131    /usr/bin/erlmcp (deleted)
Size:               7952 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00bc4000-01a6f000 r--p 007c4000 fe:00 131    /usr/bin/erlmcp (deleted)
Anonymous:             0 kB
01a6f000-01b00000 rw-p 0166f000 fe:00 131    /usr/bin/erlmcp (deleted)
Anonymous:             0 kB
01b00000-01b10000 r--p 01700000 fe:00 131    /usr/bin/erlmcp (deleted)
Anonymous:            40 kB
Swap:                  0 kB
01b10000-01b20000 r--p 01710000 fe:00 131    /usr/bin/erlmcp (deleted)
Anonymous:             0 kB
Swap:                 12 kB
01b20000-01b30000 r--s 01720000 fe:00 131    /usr/bin/erlmcp (deleted)
Anonymous:             0 kB
01b30000-01b40000 r--p 00000000 fe:00 132    /usr/lib/libc.so.6
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7ffd0000-7ffe0000 r-xp 00000000 00:00 0      [vdso]
Anonymous:             0 kB
01b40000-01b50000 r--p 01730000 fe:00 131    /usr/bin/erlmcp
`

func TestCleanMappings(t *testing.T) {
	want := []mapping{{0x400000, 0xbc4000}, {0xbc4000, 0x1a6f000}, {0x1b30000, 0x1b40000}, {0x1b40000, 0x1b50000}}
	if got := cleanMappings(strings.NewReader(smaps)); !reflect.DeepEqual(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func FuzzCleanMappings(f *testing.F) {
	f.Add(smaps)
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range cleanMappings(strings.NewReader(text)) {
			if m.end <= m.start {
				t.Errorf("%x", m)
			}
		}
	})
}

func init() {
	copies["shed"] = func() {
		c := inherit()
		before, err := touchProgram()
		if err == nil {
			Shed()
			var after int
			if after, err = fileRSS(); err == nil {
				err = c.Send("rss", []int{before, after})
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		Shed() // a second time does no harm
		obey(c)
	}
}

// touchProgram makes all of the program resident and returns how many kB of files then are.
func touchProgram() (int, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	for _, m := range cleanMappings(f) {
		for at := m.start; at < m.end; at += 4096 {
			if _, err := mem.ReadAt(make([]byte, 1), int64(at)); err != nil {
				return 0, err
			}
		}
	}
	return fileRSS()
}

// fileRSS is how many kB of files are resident in this process.
func fileRSS() (int, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "RssFile:")
	return strconv.Atoi(strings.Fields(rest)[0])
}

func TestShed(t *testing.T) {
	h := start(t, "shed", 1, nil)
	rss := into[[]int](t, h.awaitEvents(t, "message", 1)[0].Message.Data)
	t.Logf("%d kB of files resident, %d kB after", rss[0], rss[1])
	if rss[1] > rss[0]/2 {
		t.Errorf("%d kB of files resident, %d kB after", rss[0], rss[1])
	}
	// The copy still works, code it never ran before included.
	h.send(t, 0, "facts", nil)
	if f := into[facts](t, h.awaitEvents(t, "message", 2)[1].Message.Data); f.PID != h.PID(0) {
		t.Errorf("%+v", f)
	}
}
