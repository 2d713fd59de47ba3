package partition

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lockaudit/lockaudit/inject"
)

// kept is traffic that a partition lets through: with an endpoint, or, if local is
// set, of one connection.
type kept struct {
	remote netip.AddrPort // port 0 is any
	local  uint16         // our port of the connection; 0 is any
}

func (k kept) String() string {
	if k.local != 0 {
		return fmt.Sprintf("the SSH connection from %v to port %d", k.remote, k.local)
	}
	if k.remote.Port() == 0 {
		return "everything with " + k.remote.Addr().String()
	}
	return "everything with " + k.remote.String()
}

// parseProtected reads an endpoint: 10.0.0.9:22, [fd00::9]:22, or 10.0.0.9 for
// all its ports.
func parseProtected(s string) (kept, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return kept{remote: netip.AddrPortFrom(a.Unmap(), 0)}, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return kept{}, fmt.Errorf("protected endpoint %q is not an address and port, as 10.0.0.9:22", s)
	}
	return kept{remote: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
}

// refuseProtected refuses an order to cut exactly what must not be cut. A network
// around it is no such order: there the endpoint is let through.
func (c cut) refuseProtected(k kept) error {
	port := k.remote.Port()
	covered := len(c.ports) == 0 || port == 0 || slices.Contains(c.ports, port)
	if covered && c.peers.names(k.remote.Addr()) {
		return fmt.Errorf("peer %v is a protected endpoint (%v): %w", k.remote.Addr(), k, inject.ErrRefused)
	}
	return nil
}

// refuseOwn refuses the namespace's own addresses: such traffic never leaves it.
func (c cut) refuseOwn(own []netip.Addr) error {
	for _, a := range own {
		if c.peers.names(a) {
			return fmt.Errorf("peer %v is an address of this namespace itself; traffic with oneself does not cross the network: %w", a, inject.ErrRefused)
		}
	}
	return nil
}

// sshConnections are those by which somebody orders this process about.
func sshConnections() []kept {
	var out []kept
	for _, c := range inject.SSHConnections() {
		out = append(out, kept{remote: c.Client, local: c.Local})
	}
	return out
}
