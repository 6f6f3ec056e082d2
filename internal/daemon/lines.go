package daemon

import (
	"io"
	"os"
	"strings"
)

// lastLines quotes the last few lines of log that lie after begin, indented, without a newline at
// the end.
func lastLines(log *os.File, begin int64) string {
	const most = 16 << 10 // bytes
	if end, err := log.Seek(0, io.SeekEnd); err == nil {
		begin = max(begin, end-most)
	}
	text, _ := io.ReadAll(io.NewSectionReader(log, begin, most))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-quotedLines):]
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return "  " + strings.Join(lines, "\n  ")
}
