package inject

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// SSHConnection is one by which somebody is on this machine.
type SSHConnection struct {
	Client netip.AddrPort
	Local  uint16 // the server's port
}

func (c SSHConnection) String() string {
	return fmt.Sprintf("the SSH connection from %v to port %d", c.Client, c.Local)
}

// SSHConnections finds the SSH connections that this process and those above it
// belong to: sudo removes SSH_CONNECTION from its command's environment, so its
// parents' are read too, as far as that is permitted.
func SSHConnections() []SSHConnection {
	var out []SSHConnection
	add := func(v string) {
		if c, ok := parseSSH(v); ok && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	add("SSH_CONNECTION=" + os.Getenv("SSH_CONNECTION"))
	above, _ := Above() // as far as they can be seen
	for _, pid := range above {
		if env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); err == nil {
			for v := range strings.SplitSeq(string(env), "\x00") {
				add(v)
			}
		}
	}
	return out
}

// parseSSH reads SSH_CONNECTION=client-address client-port server-address server-port.
func parseSSH(v string) (SSHConnection, bool) {
	v, ok := strings.CutPrefix(v, "SSH_CONNECTION=")
	f := strings.Fields(v)
	if !ok || len(f) != 4 {
		return SSHConnection{}, false
	}
	client, err1 := netip.ParseAddr(f[0])
	port, err2 := strconv.ParseUint(f[1], 10, 16)
	local, err3 := strconv.ParseUint(f[3], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil || local == 0 {
		return SSHConnection{}, false
	}
	return SSHConnection{netip.AddrPortFrom(client.Unmap().WithZone(""), uint16(port)), uint16(local)}, true
}
