package degrade

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// devicesTo finds the interfaces by which packets to the peers leave. For a network
// these are the one of its first address, and that of every route into it.
func (c *conn) devicesTo(peers []netip.Prefix) ([]device, error) {
	indexes := map[int]bool{}
	for _, p := range peers {
		found, err := c.indexesTo(p)
		if err != nil {
			return nil, fmt.Errorf("find the way to %v: %w", p, err)
		}
		for _, i := range found {
			indexes[i] = true
		}
	}
	var out []device
	for i := range indexes {
		l, err := c.LinkByIndex(i)
		if err != nil {
			return nil, fmt.Errorf("find interface %d: %w", i, err)
		}
		out = append(out, device{Index: i, Name: l.Attrs().Name})
	}
	slices.SortFunc(out, func(a, b device) int { return a.Index - b.Index })
	return out, nil
}

func (c *conn) indexesTo(p netip.Prefix) ([]int, error) {
	first := p.Addr()
	if !p.IsSingleIP() && first.IsUnspecified() {
		first = first.Next() // the default route; the address itself means oneself
	}
	routes, err := c.RouteGetWithOptions(net.IP(first.AsSlice()), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil && p.IsSingleIP() {
		return nil, err
	}
	if !p.IsSingleIP() {
		family := unix.AF_INET
		if first.Is6() {
			family = unix.AF_INET6
		}
		all, err := c.RouteList(nil, family)
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			if r.Dst != nil && overlaps(p, r.Dst) && !r.Dst.IP.IsUnspecified() {
				routes = append(routes, r)
			}
		}
	}
	var out []int
	for _, r := range routes {
		switch {
		case r.Type == unix.RTN_LOCAL && p.IsSingleIP():
			return nil, fmt.Errorf("it is an address of this namespace itself; traffic with oneself does not cross the network: %w", inject.ErrRefused)
		case r.Type != unix.RTN_UNICAST:
			continue
		}
		if r.LinkIndex > 0 {
			out = append(out, r.LinkIndex)
		}
		for _, hop := range r.MultiPath {
			out = append(out, hop.LinkIndex)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no route leads there: %w", inject.ErrRefused)
	}
	return out, nil
}

func overlaps(p netip.Prefix, n *net.IPNet) bool {
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return false
	}
	if a = a.Unmap(); bits == 128 && a.Is4() {
		return false
	}
	return p.Overlaps(netip.PrefixFrom(a, ones))
}
