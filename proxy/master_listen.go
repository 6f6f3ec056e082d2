package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// listen opens an address n times; name is its key in Listen.
func listen(name, address string, n int) (files []*os.File, bound net.Addr, err error) {
	field := "lb.listen." + name
	files, err = prefork.Listen(address, n)
	var inUse *prefork.InUseError
	if errors.As(err, &inUse) {
		return nil, nil, &StartError{fmt.Errorf("%s: %w", field, err), "stop that process, or set " + field + " to another address"}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", field, err)
	}
	l, err := net.FileListener(files[0])
	if err != nil {
		closeFiles(files)
		return nil, nil, fmt.Errorf("%s: %w", field, err)
	}
	defer l.Close()
	return files, l.Addr(), nil
}

// listenHere opens an address that the master itself serves.
func listenHere(name, address string) (net.Listener, error) {
	files, _, err := listen(name, address, 1)
	if err != nil {
		return nil, err
	}
	defer closeFiles(files)
	l, err := net.FileListener(files[0])
	if err != nil {
		return nil, fmt.Errorf("lb.listen.%s: %w", name, err)
	}
	return l, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
