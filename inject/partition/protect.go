package partition

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lockaudit/lockaudit/inject"
)

// kept is traffic that a partition lets through: with an endpoint, or, if local is
// set, of one connection, or with a network.
type kept struct {
	remote  netip.AddrPort // port 0 is any
	local   uint16         // our port of the connection; 0 is any
	network netip.Prefix   // instead of both
}

func (k kept) String() string {
	if k.network.IsValid() {
		return "everything with " + k.network.String()
	}
	if k.local != 0 {
		return fmt.Sprintf("the control connection from %v to port %d", k.remote, k.local)
	}
	if k.remote.Port() == 0 {
		return "everything with " + k.remote.Addr().String()
	}
	return "everything with " + k.remote.String()
}

// parseProtected reads an endpoint: 10.0.0.9:22, [fd00::9]:22, 10.0.0.9 for all
// its ports, or the network 10.0.0.0/24.
func parseProtected(s string) (kept, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			return kept{}, fmt.Errorf("protected network %q: write an IPv4 network as one", s)
		}
		return kept{network: p.Masked()}, nil
	}
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
	if k.network.IsValid() {
		if a, inside := c.peers.inside(k.network); inside {
			return fmt.Errorf("peer %s is in a protected network (%v): %w", a, k.network, inject.ErrRefused)
		}
		return nil
	}
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

// controlConnections are those by which somebody orders this process about: by
// SSH, or by any other transport that is a process above it.
func controlConnections() []kept {
	var out []kept
	for _, c := range append(inject.SSHConnections(), inject.ControlConnections()...) {
		if k := (kept{remote: c.Client, local: c.Local}); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// inside finds a peer of which no part is outside of a network.
func (p peers) inside(n netip.Prefix) (string, bool) {
	for _, a := range slices.Concat(p.hosts4, p.hosts6) {
		if n.Contains(a) {
			return a.String(), true
		}
	}
	for _, r := range slices.Concat(p.nets4, p.nets6) {
		if n.Contains(r.First) && n.Contains(r.Last) {
			return fmt.Sprintf("%v-%v", r.First, r.Last), true
		}
	}
	return "", false
}
