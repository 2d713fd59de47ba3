package inject

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ControlConnections are the established TCP connections of the processes above
// this one: whatever transport somebody has chosen to order it about (an inetd,
// whose connection is the agent's stdin, socat, a session server) is one of them.
// To cut them would be to cut oneself off. This process's own are not among them.
func ControlConnections() []SSHConnection {
	var out []SSHConnection
	above, _ := Above() // as far as they could be read
	for _, pid := range above {
		if pid == os.Getpid() || pid == 1 {
			continue
		}
		for _, c := range established(pid) {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// established are a process's TCP connections with others, as far as they may be
// read: by the inodes of its sockets, in the tables of its network namespace.
func established(pid int) []SSHConnection {
	proc := "/proc/" + strconv.Itoa(pid)
	inodes := map[string]bool{}
	fds, _ := filepath.Glob(proc + "/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil {
			if n, ok := strings.CutPrefix(to, "socket:["); ok {
				inodes[strings.TrimSuffix(n, "]")] = true
			}
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	var out []SSHConnection
	for _, table := range []string{"tcp", "tcp6"} {
		b, _ := os.ReadFile(proc + "/net/" + table)
		for line := range strings.Lines(string(b)) {
			if c, inode, ok := parseTCP(line); ok && inodes[inode] {
				out = append(out, c)
			}
		}
	}
	return out
}

// parseTCP reads a line of /proc/net/tcp or tcp6 that is an established connection
// with another machine: sl local remote state … inode.
func parseTCP(line string) (c SSHConnection, inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "01" {
		return c, "", false
	}
	local, ok1 := parseSocket(f[1])
	remote, ok2 := parseSocket(f[2])
	if !ok1 || !ok2 || local.Port() == 0 || remote.Addr().IsLoopback() {
		return c, "", false
	}
	return SSHConnection{Client: remote, Local: local.Port()}, f[9], true
}

// parseSocket reads an address in the kernel's way: words of four bytes in the
// machine's order, which is little endian on what this runs on, then the port.
func parseSocket(s string) (netip.AddrPort, bool) {
	address, number, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(address)
	port, err2 := strconv.ParseUint(number, 16, 16)
	if !ok || err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), ok
}
