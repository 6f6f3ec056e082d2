package cluster

import (
	"bytes"
	"io"
)

// pumpBuffer is the longest line, in bytes, that reaches a log unbroken.
const pumpBuffer = 64 << 10

// pump moves what a node prints into its log until the node's end of the pipe is closed or reading
// fails.
func pump(from io.Reader, log *logFile) {
	buf := make([]byte, pumpBuffer)
	fill := 0
	for {
		n, err := from.Read(buf[fill : pumpBuffer-1]) // room for a newline
		fill += n
		whole := bytes.LastIndexByte(buf[:fill], '\n') + 1
		if whole == 0 && fill > 0 && (err != nil || fill == pumpBuffer-1) {
			buf[fill] = '\n'
			fill++
			whole = fill
		}
		if whole > 0 {
			log.write(buf[:whole])
			fill = copy(buf, buf[whole:fill])
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
