package master

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/proxy"
)

// entrance is one address that workers accept clients on.
type entrance struct {
	at    proxy.Listener // as in the spec; its name is that of the file a worker inherits
	bound net.Addr
	files []*os.File // one listener a lane of workers, kept open for those to come
}

// openEntrances opens the addresses of l for n lanes of workers, or none of them. What is in kept is not opened
// but shared: both have it until they close it.
func openEntrances(l *proxy.Listen, n int, kept []entrance) (list []entrance, err error) {
	for _, at := range l.ForClients() {
		e := entrance{at: at}
		if i := slices.IndexFunc(kept, func(k entrance) bool { return k.is(at) }); i >= 0 && len(kept[i].files) == n {
			e.bound = kept[i].bound
			e.files, err = duplicates(kept[i].files)
		} else {
			e.files, e.bound, err = listen(at.Name, at.Address, n)
		}
		if err != nil {
			closeEntrances(list)
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func (e entrance) is(at proxy.Listener) bool { return e.at == at }

func closeEntrances(list []entrance) {
	for _, e := range list {
		closeFiles(e.files)
	}
}

// duplicates returns further descriptors of the same sockets.
func duplicates(files []*os.File) (copies []*os.File, err error) {
	for _, f := range files {
		fd, err := prefork.Duplicate(f)
		if err != nil {
			closeFiles(copies)
			return nil, fmt.Errorf("keep a listener: %w", err)
		}
		copies = append(copies, os.NewFile(uintptr(fd), f.Name()))
	}
	return copies, nil
}

// listen opens an address n times; name is its key in Listen.
func listen(name, address string, n int) (files []*os.File, bound net.Addr, err error) {
	field := "lb.listen." + name
	files, err = prefork.Listen(address, n)
	var inUse *prefork.InUseError
	if errors.As(err, &inUse) {
		return nil, nil, advice.With(fmt.Errorf("%s: %w", field, err), "stop that process, or set "+field+" to another address")
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
