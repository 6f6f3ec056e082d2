package sockdiag

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/proc"
)

func listener(addr netip.AddrPort) (pid int, process string, err error) {
	var inodes []uint32
	port := []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, addr.Port())}
	err = dump(context.Background(), 1<<stateListen, port, func(s socket) {
		if s.blocks(addr) {
			inodes = append(inodes, s.inode)
		}
	})
	if err != nil {
		return 0, "", err
	}
	if len(inodes) == 0 {
		return 0, "", ErrNotListening
	}
	pid = holder(inodes)
	return pid, processName(pid), nil
}

// holder returns the process with the lowest id that has one of the sockets open: of a parent and
// the children that inherited the socket normally the parent. 0 when there is none among the
// processes whose descriptors may be read.
func holder(inodes []uint32) int {
	links := make([]string, len(inodes))
	for i, inode := range inodes {
		links[i] = "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	}
	pids := proc.PIDs()
	slices.Sort(pids)
	for _, pid := range pids {
		if holds(pid, links) {
			return pid
		}
	}
	return 0
}

// holds reports whether the process has a descriptor that links to one of the names. The
// descriptors are read in pieces: a listener is opened before the connections it accepts, and a
// process may hold very many of those.
func holds(pid int, links []string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	fds, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer fds.Close()
	for {
		names, err := fds.Readdirnames(256)
		for _, name := range names {
			if link, err := os.Readlink(dir + "/" + name); err == nil && slices.Contains(links, link) {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
}

// processName returns the command name of a process, or "" when it has gone. A program started
// through /proc/self/exe is called "exe" by the kernel; its first argument knows better.
func processName(pid int) string {
	if pid == 0 {
		return ""
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return ""
	}
	name := string(bytes.TrimSpace(comm))
	if name != "exe" {
		return name
	}
	line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	if arg, _, _ := bytes.Cut(line, []byte{0}); len(arg) > 0 {
		return filepath.Base(string(arg))
	}
	return name
}
