package cluster

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// interpreterError says that a script names an interpreter that is not there, which the kernel tells as if the script
// itself were not.
type interpreterError struct{ name string }

func (e *interpreterError) Error() string {
	return fmt.Sprintf("has the interpreter %q, which is not there", e.name)
}

// longestShebang is how much of a script's first line the kernel reads.
const longestShebang = 256

// interpreted reports a script whose interpreter is missing. What cannot be read, and what is no script, is fine.
func interpreted(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	head := make([]byte, longestShebang)
	n, _ := io.ReadFull(file, head)
	line, is := bytes.CutPrefix(head[:n], []byte("#!"))
	line, _, whole := bytes.Cut(line, []byte("\n"))
	words := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' }) // a carriage return is part of the name
	if !is || !whole || len(words) == 0 {
		return nil
	}
	if _, err := os.Stat(string(words[0])); os.IsNotExist(err) {
		return &interpreterError{string(words[0])}
	}
	return nil
}
