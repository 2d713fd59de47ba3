package partition

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition/nft"
)

// MaxPeers is how many addresses and networks a partition may name. 16 384 are in
// effect within some 20 ms; the deadline of the first and the last are then as
// far apart.
const MaxPeers = 16384

// peers are who is cut off: single addresses and ranges, by family, sorted, none
// in another.
type peers struct {
	hosts4, hosts6 []netip.Addr
	nets4, nets6   []nft.Range
	said           []string // as ordered, for people
}

func (p peers) count() int {
	return len(p.hosts4) + len(p.hosts6) + len(p.nets4) + len(p.nets6)
}

func (p peers) String() string { return list(p.said) }

func parsePeers(list []string) (peers, error) {
	switch {
	case len(list) == 0:
		return peers{}, errors.New("no peers")
	case len(list) > MaxPeers:
		return peers{}, tooMany(fmt.Sprintf("%d peers", len(list)))
	}
	all := make([]nft.Range, 0, len(list))
	for _, s := range list {
		r, err := parsePeer(s)
		if err != nil {
			return peers{}, err
		}
		all = append(all, r)
	}
	p := peers{said: list}
	for _, r := range merge(all) {
		switch {
		case r.First == r.Last && r.First.Is4():
			p.hosts4 = append(p.hosts4, r.First)
		case r.First == r.Last:
			p.hosts6 = append(p.hosts6, r.First)
		case r.First.Is4():
			p.nets4 = append(p.nets4, r)
		default:
			p.nets6 = append(p.nets6, r)
		}
	}
	return p, nil
}

// parsePeer reads an address or a network; an IPv4 address written as IPv6 is the
// IPv4 address that packets carry.
func parsePeer(s string) (nft.Range, error) {
	fail := func(why string) (nft.Range, error) { return nft.Range{}, fmt.Errorf("peer %q: %s", s, why) }
	var p netip.Prefix
	if strings.Contains(s, "/") {
		var err error
		if p, err = netip.ParsePrefix(s); err != nil {
			return fail("not a network, as 10.0.0.0/24")
		}
	} else {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return fail("not an address, as 10.0.0.1; names are not resolved here")
		}
		if a.Zone() != "" {
			return fail("an address with a zone; name it without")
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return fail("covers more than the addresses of IPv4")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	r := nft.Range{First: p.Addr(), Last: last(p)}
	if (r.First.IsLoopback() && r.Last.IsLoopback()) || (r.First == r.Last && r.First.IsUnspecified()) {
		return nft.Range{}, fmt.Errorf("peer %q: this machine's own address cannot be cut off: %w", s, inject.ErrRefused)
	}
	return r, nil
}

// last is the highest address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		if host := 8*(i+1) - p.Bits(); host >= 8 {
			b[i] = 0xff
		} else if host > 0 {
			b[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// merge sorts ranges and joins those that overlap. Networks that only touch are
// joined as well, because the kernel wants a range to end where none begins;
// addresses that touch stay single, which is the cheaper set.
func merge(all []nft.Range) []nft.Range {
	slices.SortFunc(all, func(a, b nft.Range) int {
		if c := a.First.Compare(b.First); c != 0 {
			return c
		}
		return b.Last.Compare(a.Last)
	})
	out := all[:0]
	for _, r := range all {
		if n := len(out); n > 0 {
			l := &out[n-1]
			overlaps := l.Last.BitLen() == r.First.BitLen() && l.Last.Compare(r.First) >= 0
			touches := l.First != l.Last && r.First != r.Last && l.Last.Next() == r.First
			if overlaps || touches {
				if r.Last.Compare(l.Last) > 0 {
					l.Last = r.Last
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// names says whether an address is itself one of the peers, not only in a network.
func (p peers) names(a netip.Addr) bool {
	_, v4 := slices.BinarySearchFunc(p.hosts4, a, netip.Addr.Compare)
	_, v6 := slices.BinarySearchFunc(p.hosts6, a, netip.Addr.Compare)
	return v4 || v6
}
