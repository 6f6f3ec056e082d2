package prefork

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

const (
	// processName is what copies are called in ps, whatever the file is called.
	processName = "erlmcp"
	// variable holds the inheritance of a copy in its environment.
	variable = "ERLMCP_PREFORK"
	// controlFD is the descriptor of the control stream in a copy. The inherited files follow it.
	controlFD = 3
)

// inheritance tells a copy who it is and what its descriptors are.
type inheritance struct {
	Index  int      `json:"index"`
	Copies int      `json:"copies"`
	Intake Intake   `json:"intake"`
	Files  []string `json:"files,omitempty"`
}

func (in inheritance) environ() (string, error) {
	text, err := json.Marshal(in)
	return variable + "=" + string(text), err
}

// File is an open file that a copy inherits and finds again by name. The pool's user keeps it open
// as long as copies may be started, and closes it.
type File struct {
	Name string
	File *os.File
}

func checkFiles(files []File) error {
	var names []string
	for _, f := range files {
		switch {
		case f.Name == "":
			return errors.New("inherited file without a name")
		case f.File == nil:
			return fmt.Errorf("inherited file %q is nil", f.Name)
		case f.File.Fd() == ^uintptr(0):
			return fmt.Errorf("inherited file %q is closed", f.Name)
		case slices.Contains(names, f.Name):
			return fmt.Errorf("two inherited files are called %q", f.Name)
		}
		names = append(names, f.Name)
	}
	return nil
}

// controlPair returns the ends of a new control stream: the parent's, and the copy's to be passed
// on and closed.
func controlPair() (*stream, *os.File, error) {
	a, b, err := socketpair()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	copysEnd := os.NewFile(uintptr(b), "control")
	s, err := openStream(os.NewFile(uintptr(a), "control"))
	if err != nil {
		_ = copysEnd.Close()
		return nil, nil, err
	}
	return s, copysEnd, nil
}

// openStream makes a stream of one end of a control stream. It takes the file.
func openStream(f *os.File) (*stream, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("control stream is a %s socket", c.LocalAddr().Network())
	}
	s, err := newStream(conn)
	if err != nil {
		_ = conn.Close()
	}
	return s, err
}
