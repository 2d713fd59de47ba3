package agent

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// ownAddresses are the addresses by which others reach this node, sorted.
func ownAddresses() ([]string, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read own addresses: %w", err)
	}
	var found []netip.Addr
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if ip := p.Addr().Unmap(); err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			found = append(found, ip)
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	out := make([]string, len(found))
	for i, ip := range found {
		out[i] = ip.String()
	}
	return slices.Compact(out), nil
}
