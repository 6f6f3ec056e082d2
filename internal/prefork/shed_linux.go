package prefork

import (
	"bufio"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Shed gives back the memory that only start-up needed: free heap, and the pages of text and
// read-only data, the program's and its libraries', that were touched so far. What is needed again comes back from the page
// cache at the price of a minor fault. A copy calls it once, when it is ready for work.
//
// It takes the copy of a big binary from about 16 MB of resident memory to 5. The text pages are
// shared by all copies, so the machine gains less than the sum says; what it gains is that the
// numbers in ps and in memory-limited containers mean what the work costs.
func Shed() {
	debug.FreeOSMemory()
	dropClean()
}

// dropClean gives back the pages of files.
func dropClean() {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, m := range cleanMappings(f) {
		// A raw system call: for the Go side these are no pointers and never were. Advice that is
		// not taken does no harm.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// cleanMappings returns the private read-only mappings of files in smaps (proc_pid_smaps(5)) that
// have no pages of their own: every page can be read from the file again. Relocated data of a
// position-independent program is read-only too, but was written before; dropping it would undo the
// relocation.
func cleanMappings(smaps io.Reader) (clean []mapping) {
	candidate := false // whether the latest mapping is ours to shed
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		line := lines.Text()
		if key, value, ok := strings.Cut(line, ":"); ok && !strings.Contains(key, " ") {
			own := key == "Anonymous" || key == "Swap"
			if candidate && own && strings.TrimSpace(value) != "0 kB" {
				clean, candidate = clean[:len(clean)-1], false
			}
			continue
		}
		m, perms, name := parseMapping(line)
		candidate = strings.HasPrefix(name, "/") && perms[1] == '-' && perms[3] == 'p'
		if candidate {
			clean = append(clean, m)
		}
	}
	return clean
}

// parseMapping reads the first line of a mapping, the same as in proc_pid_maps(5):
//
//	00400000-01a6f000 r-xp 00000000 fe:00 131    /usr/bin/erlmcp (deleted)
//
// name is "" when the line is something else or the mapping has no file.
func parseMapping(line string) (m mapping, perms, name string) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 || len(fields[1]) != 4 {
		return m, "", ""
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, err := strconv.ParseUint(from, 16, strconv.IntSize)
	if err != nil {
		return m, "", ""
	}
	end, err := strconv.ParseUint(to, 16, strconv.IntSize)
	if err != nil || end <= start {
		return m, "", ""
	}
	return mapping{uintptr(start), uintptr(end)}, fields[1], strings.TrimLeft(fields[5], " ")
}
