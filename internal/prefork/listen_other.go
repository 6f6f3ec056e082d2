//go:build !linux

package prefork

import (
	"net"
	"os"
)

// listenCopies returns one socket n times: only Linux spreads connections over the sockets that
// share an address.
func listenCopies(addr string, n int) (files []*os.File, err error) {
	l, err := listenTCP(addr, net.ListenConfig{})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	for range n {
		f, err := detach(l)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}
