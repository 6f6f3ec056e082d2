package nodelog

import (
	"bytes"
	"io"
	"slices"
	"unicode/utf8"
)

const (
	pumpBuffer = 64 << 10 // bytes read at a time

	// What stands where a line that is too long is cut: at the end of its beginning, and before its rest.
	lineGoesOn  = " [erlmcp: longer than cluster.logs.max_line, goes on in the next line]\n"
	lineWentOn  = "[erlmcp: goes on] "
	longestMark = max(len(lineGoesOn), len(lineWentOn))
)

// Pump moves what a node prints into its log until the node's end of the pipe is closed or reading
// fails. Lines stay whole, unless they are longer than the log takes.
func (f *File) Pump(from io.Reader) {
	buf := make([]byte, pumpBuffer)
	fill := 0
	for {
		if fill > len(buf)-2 { // room for a newline too
			buf = append(buf, make([]byte, min(len(buf), f.maxLine))...)
		}
		n, err := from.Read(buf[fill : len(buf)-1])
		searched := fill
		fill += n
		whole := searched + bytes.LastIndexByte(buf[searched:fill], '\n') + 1
		if whole > searched {
			f.writeLines(buf[:whole])
			fill = copy(buf, buf[whole:fill])
			if len(buf) > pumpBuffer && whole+fill <= pumpBuffer/2 { // no long ones any more
				buf = slices.Clone(buf[:pumpBuffer])
			}
		}
		for fill > f.maxLine {
			fill = copy(buf, f.cutLine(buf[:fill]))
		}
		if err != nil {
			if fill > 0 {
				buf[fill] = '\n'
				f.write(buf[:fill+1])
			}
			return
		}
	}
}

// writeLines writes lines, each ended by a newline.
func (f *File) writeLines(lines []byte) {
	if len(lines) <= f.maxLine {
		f.write(lines)
		return
	}
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n') + 1
		line := lines[:end]
		for len(line) > f.maxLine+1 {
			line = f.cutLine(line)
		}
		f.write(line)
		lines = lines[end:]
	}
}

// cutLine writes the beginning of a line that is too long and returns what is to be written of it in the next one.
func (f *File) cutLine(line []byte) (rest []byte) {
	at := f.maxLine
	for i := range utf8.UTFMax { // not within a character
		if utf8.RuneStart(line[at-i]) {
			at -= i
			break
		}
	}
	f.write(slices.Concat(line[:at], []byte(lineGoesOn)))
	return slices.Concat([]byte(lineWentOn), line[at:])
}
