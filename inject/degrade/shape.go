package degrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// limit is how many packets netem holds back at most: 100 ms of 1500 B at 6 Gbit/s.
// With the usual 1000 a delay would be a loss.
const limit = 50_000

// Inject puts prio and netem at the root of each interface and then leads the peers'
// packets there. Until the filters are in place everything passes as before.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) {
		return inject.Effect{}, fmt.Errorf("inject degrade: %w", err)
	}
	if err := errors.Join(ctx.Err(), p.SameBoot()); err != nil {
		return fail(err)
	}
	o, err := decodeParams(p.Spec.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return fail(err)
	}
	ns, err := u.Namespace.Reopen()
	if err != nil {
		return fail(err)
	}
	defer ns.Close()
	c, err := dial(ns)
	if err != nil {
		return fail(err)
	}
	defer c.close()
	seen := fmt.Sprintf("%s for what leaves towards %s by", o.what(), o.towards())
	for _, d := range u.Devices {
		if err := f.shape(c, d, handlesOf(p), o); err != nil {
			return fail(fmt.Errorf("%s: %w", d.Name, err))
		}
		seen += " " + d.Name
	}
	return inject.Effect{Seen: seen, Count: len(u.Devices), Since: inject.Now()}, nil
}

func (f *Fault) shape(c *conn, d device, h handles, o order) error {
	l, err := c.LinkByIndex(d.Index)
	switch {
	case errors.As(err, &netlink.LinkNotFoundError{}):
		return fmt.Errorf("interface %d: %w", d.Index, inject.ErrGone)
	case err != nil:
		return err
	}
	if err := c.addRoot(l.Attrs().Index, h, leafKind(d.Before)); err != nil {
		return err
	}
	if err := f.step("root"); err != nil {
		return err
	}
	netem := o.netem(d.Index, h)
	if err := c.QdiscAdd(netem); err != nil {
		return fmt.Errorf("add netem: %w", err)
	}
	if err := f.step("netem"); err != nil {
		return err
	}
	filters := o.filtersFor(d.Index, h)
	for _, x := range filters {
		if err := c.FilterAdd(x); err != nil {
			return fmt.Errorf("add filter: %w", err)
		}
	}
	if err := f.step("filters"); err != nil {
		return err
	}
	return c.readBack(l, h, netem, len(filters))
}

// addRoot puts prio with two bands at the root: everything into the first, which
// queues as before. The kernel refuses it if the root is not its own default.
func (c *conn) addRoot(index int, h handles, leaf string) error {
	prio := netlink.NewPrio(netlink.QdiscAttrs{LinkIndex: index, Handle: h.root, Parent: netlink.HANDLE_ROOT})
	prio.Bands, prio.PriorityMap = 2, [16]uint8{}
	switch err := c.QdiscAdd(prio); {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("somebody has set another queueing discipline meanwhile: %w", inject.ErrRefused)
	case err != nil:
		return fmt.Errorf("add prio: %w", err)
	}
	if leaf == "" {
		return nil
	}
	rest := &netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: h.rest, Parent: h.root | 1}, QdiscType: leaf}
	if err := c.QdiscAdd(rest); err != nil {
		return fmt.Errorf("add %s: %w", leaf, err)
	}
	return nil
}

func (o order) netem(index int, h handles) *netlink.Netem {
	return netlink.NewNetem(
		netlink.QdiscAttrs{LinkIndex: index, Handle: h.netem, Parent: h.root | 2},
		netlink.NetemQdiscAttrs{
			Latency: uint32(o.Delay / time.Microsecond), Jitter: uint32(o.Jitter / time.Microsecond), Limit: limit,
			Loss: float32(o.Loss), Duplicate: float32(o.Duplicate), ReorderProb: float32(o.Reorder),
			Rate64: o.Rate / 8,
		})
}

// filtersFor are first those that leave packets as they are, then those that do not.
// A priority holds one protocol.
func (o order) filtersFor(index int, h handles) []netlink.Filter {
	var out []netlink.Filter
	add := func(stage uint16, class uint32, m match) {
		eth := uint16(unix.ETH_P_IP)
		if m.to.Addr().Is6() {
			stage, eth = stage+1, unix.ETH_P_IPV6
		}
		f := &netlink.Flower{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: h.root, Priority: stage, Protocol: eth},
			ClassId:     class, EthType: eth, SrcPort: m.src, DestPort: m.dst,
		}
		a, mask := net.IP(m.to.Addr().AsSlice()), net.CIDRMask(m.to.Bits(), m.to.Addr().BitLen())
		if m.near {
			f.SrcIP, f.SrcIPMask = a, mask
		} else {
			f.DestIP, f.DestIPMask = a, mask
		}
		if m.proto != 0 {
			f.IPProto = &m.proto
		}
		out = append(out, f)
	}
	for _, k := range o.kept {
		for _, m := range k.matches() {
			add(1, h.root|1, m)
		}
	}
	for _, p := range o.peers {
		if len(o.Ports) == 0 {
			add(3, h.root|2, match{to: p})
		}
		for _, port := range o.Ports {
			for _, proto := range []nl.IPProto{nl.IPPROTO_TCP, nl.IPPROTO_UDP} {
				add(3, h.root|2, match{to: p, proto: proto, dst: uint16(port)})
				add(3, h.root|2, match{to: p, proto: proto, src: uint16(port)})
			}
		}
	}
	return out
}

// match says which packets: to an address, or if near is set from it.
type match struct {
	to       netip.Prefix
	near     bool
	proto    nl.IPProto
	src, dst uint16
}

// matches: an endpoint may be far or our own.
func (k kept) matches() []match {
	a := netip.PrefixFrom(k.far.Addr(), k.far.Addr().BitLen())
	switch {
	case k.local != 0:
		return []match{{to: a, proto: nl.IPPROTO_TCP, src: k.local, dst: k.far.Port()}}
	case k.far.Port() == 0:
		return []match{{to: a}, {to: a, near: true}}
	}
	var out []match
	for _, proto := range []nl.IPProto{nl.IPPROTO_TCP, nl.IPPROTO_UDP} {
		out = append(out, match{to: a, proto: proto, dst: k.far.Port()}, match{to: a, near: true, proto: proto, src: k.far.Port()})
	}
	return out
}

// readBack looks whether the kernel has what it was told.
func (c *conn) readBack(l netlink.Link, h handles, want *netlink.Netem, filters int) error {
	all, err := c.QdiscList(l)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	root, netem := false, false
	for _, q := range all {
		switch q := q.(type) {
		case *netlink.Prio:
			root = root || q.Handle == h.root && q.Parent == netlink.HANDLE_ROOT
		case *netlink.Netem:
			netem = netem || q.Handle == h.netem && q.Parent == h.root|2 && sameNetem(q, want)
		}
	}
	if !root || !netem {
		return fmt.Errorf("read back: prio is there: %v, netem as ordered: %v", root, netem)
	}
	there, err := c.FilterList(l, h.root)
	if err != nil {
		return fmt.Errorf("read back filters: %w", err)
	}
	if len(there) != filters {
		return fmt.Errorf("read back: %d of %d filters are there", len(there), filters)
	}
	return nil
}

func sameNetem(a, b *netlink.Netem) bool {
	return a.Latency == b.Latency && a.Jitter == b.Jitter && a.Limit == b.Limit && a.Loss == b.Loss &&
		a.Duplicate == b.Duplicate && a.ReorderProb == b.ReorderProb && a.Rate64 == b.Rate64
}
