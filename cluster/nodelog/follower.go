package nodelog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/erlmcp/erlmcp/internal/daemon"
)

// follower reads a log and what comes after it, file after file. See [File] for how files are named.
type follower struct {
	path string
	emit func(line []byte) error

	file    *os.File // nil while there is none
	offset  int64
	buf     []byte
	pending []byte // a line without its end
}

const (
	followBuffer = 64 << 10
	longestLine  = int(maxLine) + longestMark // longer ones, which no log of ours has, are broken
	keptBuffer   = 1 << 20                    // of the longest line so far
	mostRotated  = maxKeep
)

// newFollower begins at the last lines of the log.
func newFollower(path string, lines int, emit func([]byte) error) *follower {
	f := &follower{path: path, emit: emit, buf: make([]byte, followBuffer)}
	for i := 0; i <= mostRotated; i++ {
		file, err := os.Open(daemon.Rotated(path, i))
		if err != nil && i == 0 {
			continue // about to be made anew
		}
		if err != nil {
			break
		}
		f.close()
		f.file = file
		var found int
		f.offset, found = lastLines(file, lines)
		if lines -= found; lines <= 0 {
			break
		}
	}
	return f
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// poll emits new lines, up to about limit bytes, and reports whether there is more to be had at once.
func (f *follower) poll(limit int) (more bool, err error) {
	for limit > 0 {
		if f.file == nil {
			if f.file, err = os.Open(f.path); errors.Is(err, fs.ErrPermission) {
				return false, err
			} else if err != nil {
				return false, nil
			}
			f.offset = 0
		}
		n, err := f.file.ReadAt(f.buf, f.offset)
		f.offset += int64(n)
		limit -= n
		if err := f.feed(f.buf[:n]); err != nil {
			return false, err
		}
		if n > 0 {
			continue
		}
		if err != nil && err != io.EOF {
			return false, err
		}
		if moved, err := f.advance(); !moved {
			return false, err
		}
	}
	return true, nil
}

// advance goes to the next file, or to the beginning of one that was cut, after the end of the
// current one. It reports whether there may be more to read.
func (f *follower) advance() (moved bool, err error) {
	mine, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	if mine.Size() > f.offset { // grown since it was read
		return true, nil
	}
	at := f.place(mine)
	if at == 0 {
		if mine.Size() == f.offset {
			return false, nil
		}
		f.offset = 0
		return true, f.flush()
	}
	// A file gets another name only after the last write to it.
	if mine, err = f.file.Stat(); err != nil || mine.Size() > f.offset {
		return err == nil, err
	}
	next, err := os.Open(daemon.Rotated(f.path, at-1))
	if err != nil {
		return false, nil // between two renames of a rotation, or taken away: the next poll will see
	}
	if f.place(mine) != at { // rotated in between, so this is not the next one
		next.Close()
		return true, nil
	}
	f.close()
	f.file, f.offset = next, 0
	return true, f.flush()
}

// place is the number of a file in the chain of rotated ones. One that is no longer in it comes
// before the oldest that was written after it.
func (f *follower) place(mine os.FileInfo) int {
	missing, later := 0, 0
	for i := 0; ; i++ {
		info, err := os.Stat(daemon.Rotated(f.path, i))
		switch {
		case err != nil:
			// One may be missing for a moment: each file is renamed in turn.
			if missing++; missing == 2 {
				return later
			}
		case os.SameFile(info, mine):
			return i
		default:
			missing = 0
			if !info.ModTime().Before(mine.ModTime()) {
				later = i + 1
			}
		}
	}
}

func (f *follower) feed(data []byte) error {
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			f.pending = append(f.pending, data...)
			if len(f.pending) >= longestLine {
				return f.flush()
			}
			return nil
		}
		line := data[:i]
		if len(f.pending) > 0 {
			f.pending = append(f.pending, line...)
			line = f.pending
		}
		err := f.emit(line)
		f.forget()
		if err != nil {
			return err
		}
		data = data[i+1:]
	}
}

// flush emits a line that has no end.
func (f *follower) flush() error {
	if len(f.pending) == 0 {
		return nil
	}
	err := f.emit(f.pending)
	f.forget()
	return err
}

// forget makes room for the next line.
func (f *follower) forget() {
	if f.pending = f.pending[:0]; cap(f.pending) > keptBuffer {
		f.pending = nil
	}
}

// lastLines returns where the last n lines of file begin, and how many there are if fewer.
func lastLines(file *os.File, n int) (offset int64, found int) {
	info, err := file.Stat()
	if err != nil {
		return 0, 0
	}
	end := info.Size()
	if n <= 0 {
		return end, 0
	}
	// A line begins after every newline but the last byte of the file, and at 0.
	buf := make([]byte, followBuffer)
	for block := max(end-1, 0); block > 0; {
		size := min(block, followBuffer)
		block -= size
		if _, err := file.ReadAt(buf[:size], block); err != nil {
			return end, 0
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' {
				continue
			}
			if found++; found == n {
				return block + i + 1, found
			}
		}
	}
	if end > 0 {
		found++
	}
	return 0, found
}
