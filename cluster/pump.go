package cluster

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

// pump moves what a node prints into its log until the node's end of the pipe is closed or reading
// fails. Lines stay whole, unless they are longer than the log takes.
func pump(from io.Reader, log *logFile) {
	buf := make([]byte, pumpBuffer)
	fill := 0
	for {
		if fill > len(buf)-2 { // room for a newline too
			buf = append(buf, make([]byte, min(len(buf), log.maxLine))...)
		}
		n, err := from.Read(buf[fill : len(buf)-1])
		searched := fill
		fill += n
		whole := searched + bytes.LastIndexByte(buf[searched:fill], '\n') + 1
		if whole > searched {
			writeLines(log, buf[:whole])
			fill = copy(buf, buf[whole:fill])
			if len(buf) > pumpBuffer && whole+fill <= pumpBuffer/2 { // no long ones any more
				buf = slices.Clone(buf[:pumpBuffer])
			}
		}
		for fill > log.maxLine {
			fill = copy(buf, cutLine(log, buf[:fill]))
		}
		if err != nil {
			if fill > 0 {
				buf[fill] = '\n'
				log.write(buf[:fill+1])
			}
			return
		}
	}
}

// writeLines writes lines, each ended by a newline.
func writeLines(log *logFile, lines []byte) {
	if len(lines) <= log.maxLine {
		log.write(lines)
		return
	}
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n') + 1
		line := lines[:end]
		for len(line) > log.maxLine+1 {
			line = cutLine(log, line)
		}
		log.write(line)
		lines = lines[end:]
	}
}

// cutLine writes the beginning of a line that is too long and returns what is to be written of it in the next one.
func cutLine(log *logFile, line []byte) (rest []byte) {
	at := log.maxLine
	for i := range utf8.UTFMax { // not within a character
		if utf8.RuneStart(line[at-i]) {
			at -= i
			break
		}
	}
	log.write(slices.Concat(line[:at], []byte(lineGoesOn)))
	return slices.Concat([]byte(lineWentOn), line[at:])
}
