package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/sockdiag"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/internal/burst"
)

// Gather finds out all there is to know for a plan. It changes nothing, and opens addresses only to
// see that they can be had.
func Gather(p *Plan) (Facts, error) {
	m, err := loadtest.ThisMachine(&p.Loadtest)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Machine: m, Tools: make(map[string]string)}
	host(&f)
	f.StateDirFree, f.StateDirError = free(p.StateDir)
	for _, t := range toolPackages {
		f.Tools[t.program], _ = exec.LookPath(t.program)
	}
	f.Drivers = drivers()
	daemons := make(map[string]int)
	for _, name := range []string{"lb", "cluster"} {
		if pid, running, err := control.Running(p.StateDir, name); err == nil && running {
			daemons[name] = pid
		}
	}
	for _, l := range p.Listeners {
		f.Held = append(f.Held, holder(l, daemons[l.Daemon]))
	}
	return f, nil
}

// drivers asks programs that make load for their versions. What needs no installation is left out.
func drivers() (found []Driver) {
	for _, d := range burst.Drivers() {
		install := burst.Installs(d.Name())
		if install == "" {
			continue
		}
		p, err := d.Find(context.Background()) // which is not patient
		found = append(found, Driver{Name: d.Name(), Path: p.Path, Version: p.Version, Error: err, Install: install})
	}
	return found
}

// holder looks who listens at an address, and where nobody does whether one could.
func holder(l Listener, daemon int) Holder {
	addr, err := address(l.Address)
	if err != nil {
		return Holder{Error: err}
	}
	if addr.Port() == 0 {
		return Holder{} // any free one
	}
	pid, name, err := sockdiag.Listener(addr)
	switch {
	case err == nil:
		return Holder{PID: pid, Process: name, Taken: true, Ours: descends(pid, daemon)}
	case !errors.Is(err, sockdiag.ErrNotListening) && !errors.Is(err, errors.ErrUnsupported):
		return Holder{Error: err}
	}
	host := ""
	if addr.Addr().IsValid() {
		host = addr.Addr().String()
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(addr.Port()))))
	if err != nil {
		var number syscall.Errno
		if errors.As(err, &number) {
			err = number
		}
		return Holder{Taken: errors.Is(err, syscall.EADDRINUSE), Error: err}
	}
	return Holder{Error: listener.Close()}
}

// descends reports whether a process is another one, its child, or one further down.
func descends(pid, ancestor int) bool {
	for range 16 { // a table that changes meanwhile could go round
		if pid == ancestor && pid != 0 {
			return true
		}
		p, err := process.NewProcess(int32(pid))
		if err != nil {
			return false
		}
		parent, err := p.Ppid()
		if err != nil || parent <= 1 {
			return false
		}
		pid = int(parent)
	}
	return false
}

// address is host:port with a number and the first address of the host; no host is the zero Addr.
func address(text string) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var addr netip.Addr
	if host != "" {
		ips, err := net.LookupIP(host)
		if err != nil {
			return netip.AddrPort{}, err
		}
		addr, _ = netip.AddrFromSlice(ips[0])
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}

// free is how many bytes can be written below dir, or where it would be made.
func free(dir string) (int64, error) {
	for {
		switch _, err := os.Stat(dir); {
		case err == nil:
			if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
				return 0, &os.PathError{Op: "write to", Path: dir, Err: err}
			}
			var s unix.Statfs_t
			if err := unix.Statfs(dir, &s); err != nil {
				return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
			}
			return int64(s.Bavail * uint64(s.Bsize)), nil
		case !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir):
			return 0, err
		}
		dir = filepath.Dir(dir)
	}
}
