package partition

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// side is one direction: a chain of rules that look at the peer's address in what
// arrives or leaves, in a table with the peers.
type side struct {
	family nft.Family
	chain  string
	out    bool
	hook   nft.Hook   // of the chain; none if one per interface jumps to it
	end    []nft.Expr // what becomes of a packet
}

// The chains. dropIn and dropOut are base chains, unless what leaves is forwarded:
// then there is one per interface.
const (
	dropIn  = "drop-in"
	dropOut = "drop-out"
)

// Names of the sets of a table.
const (
	setHosts4, setHosts6 = "hosts4", "hosts6"
	setNets4, setNets6   = "nets4", "nets6"
	setPorts             = "ports"
	setGate              = "gate" // has an element while a flapping partition is on
)

const (
	// inputPriority is before connection tracking (-200): what is cut leaves no trace.
	inputPriority = -300
	// outputPriority is last: addresses and marks are as on the wire, and nobody
	// changes or misses a packet that is gone.
	outputPriority = 1<<31 - 1
)

func (c cut) sides(u undo) []side {
	var out []side
	if c.in() {
		hook := nft.Hook{On: true, Num: unix.NF_INET_LOCAL_IN, Priority: inputPriority}
		out = append(out, side{nft.INet, dropIn, false, hook, []nft.Expr{nft.Drop()}})
	}
	switch {
	case !c.out():
	case u.Way == forward:
		out = append(out, side{nft.Netdev, dropOut, true, nft.Hook{}, u.take()})
	default:
		// After POSTROUTING what is forwarded is cut too; whose a packet is, only
		// OUTPUT can tell.
		hook := nft.Hook{On: true, Num: unix.NF_INET_POST_ROUTING, Priority: outputPriority}
		if u.Group != nil {
			hook.Num = unix.NF_INET_LOCAL_OUT
		}
		out = append(out, side{nft.INet, dropOut, true, hook, u.take()})
	}
	return out
}

// families are those of the tables.
func families(sides []side) []nft.Family {
	var out []nft.Family
	for _, s := range sides {
		if !slices.Contains(out, s.family) {
			out = append(out, s.family)
		}
	}
	return out
}

// addr is where the address of the far or the near end lies in an IP header.
func (s side) addr(v6, far bool) nft.Expr {
	source := far != s.out
	switch {
	case v6 && source:
		return nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 8, 16)
	case v6:
		return nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 24, 16)
	case source:
		return nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 12, 4)
	default:
		return nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
	}
}

// port is where the port of the far or the near end lies in a TCP or UDP header.
func (s side) port(far bool) nft.Expr {
	if far != s.out {
		return nft.Payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2)
	}
	return nft.Payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
}

// version lets only IPv4 or IPv6 go on.
func (s side) version(v6 bool) []nft.Expr {
	if s.family == nft.INet {
		proto := byte(unix.NFPROTO_IPV4)
		if v6 {
			proto = unix.NFPROTO_IPV6
		}
		return []nft.Expr{nft.Meta(unix.NFT_META_NFPROTO), nft.Is(proto)}
	}
	proto := uint16(unix.ETH_P_IP)
	if v6 {
		proto = unix.ETH_P_IPV6
	}
	return []nft.Expr{nft.Meta(unix.NFT_META_PROTOCOL), nft.Is(binary.BigEndian.AppendUint16(nil, proto)...)}
}

// build adds the chain with its rules; the sets are there already.
func (s side) build(b *nft.Batch, table string, c cut, u undo) {
	b.NewChain(s.family, table, s.chain, s.hook)
	rule := func(parts ...[]nft.Expr) {
		var all []nft.Expr
		for _, p := range parts {
			all = append(all, p...)
		}
		b.NewRule(s.family, table, s.chain, all...)
	}
	accept := []nft.Expr{nft.Accept()}
	if s.hook.On { // what one sends to oneself; chains of interfaces do not see it
		device := uint32(unix.NFT_META_IIFTYPE)
		if s.out {
			device = unix.NFT_META_OIFTYPE
		}
		rule([]nft.Expr{nft.Meta(device), nft.Is(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_LOOPBACK)...)}, accept)
	}
	if c.flap.period > 0 {
		rule([]nft.Expr{nft.Load(gateKey...), nft.NotIn(setGate)}, accept)
	}
	for _, k := range c.kept {
		for _, e := range s.keep(k) {
			rule(e, accept)
		}
	}
	var end []nft.Expr
	if u.Group != nil { // after the address, so that other packets pay little
		end = nft.SocketGroup(u.Group.Level, u.Group.ID)
	}
	end = append(append(end, nft.Counter()), s.end...)
	for _, set := range c.peers.sets() {
		to := append(s.version(set.v6), s.addr(set.v6, true), nft.In(set.Name))
		if set.v6 && len(c.protos) == 0 {
			// Neighbour discovery is to IPv6 what ARP is to IPv4: it goes on, as it
			// does when the cut is behind the next router.
			rule(s.version(true), protocol(protoND), []nft.Expr{nft.Payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1),
				nft.Cmp(unix.NFT_CMP_GTE, []byte{133}), nft.Cmp(unix.NFT_CMP_LTE, []byte{137})}, accept)
		}
		if len(c.protos) == 0 {
			rule(to, end)
		}
		for _, proto := range c.protos {
			if len(c.ports) == 0 {
				rule(to, protocol(proto), end)
				continue
			}
			for _, far := range []bool{true, false} {
				rule(to, protocol(proto), []nft.Expr{s.port(far), nft.In(setPorts)}, end)
			}
		}
	}
	if !s.hook.On { // last, so that nothing is dropped before everything is ready
		for i, d := range u.Devices {
			base := "out-" + string(rune('a'+i%26)) + "-" + d
			b.NewChain(s.family, table, base, nft.Hook{On: true, Num: unix.NF_NETDEV_EGRESS, Device: d})
			b.NewRule(s.family, table, base, nft.Jump(s.chain))
		}
	}
}

// gateKey is the one element that the gate may have.
var gateKey = []byte{1, 0, 0, 0}

func protocol(p byte) []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_L4PROTO), nft.Is(p)}
}

// keep matches what is let through: an endpoint may be far or our own.
func (s side) keep(k kept) [][]nft.Expr {
	var out [][]nft.Expr
	if n := k.network; n.IsValid() {
		v6 := n.Addr().Is6()
		for _, far := range []bool{true, false} {
			out = append(out, append(s.version(v6), s.addr(v6, far),
				nft.Cmp(unix.NFT_CMP_GTE, n.Addr().AsSlice()), nft.Cmp(unix.NFT_CMP_LTE, last(n).AsSlice())))
		}
		return out
	}
	a := k.remote.Addr()
	for _, far := range []bool{true, false} {
		match := append(s.version(a.Is6()), s.addr(a.Is6(), far), nft.Is(a.AsSlice()...))
		port := nft.Is(binary.BigEndian.AppendUint16(nil, k.remote.Port())...)
		switch {
		case k.local != 0 && far:
			match = append(append(match, protocol(protoTCP)...), s.port(true), port, s.port(false), nft.Is(binary.BigEndian.AppendUint16(nil, k.local)...))
		case k.local != 0:
			continue
		case k.remote.Port() != 0:
			for _, proto := range []byte{protoTCP, protoUDP} {
				out = append(out, append(append(append([]nft.Expr(nil), match...), protocol(proto)...), s.port(far), port))
			}
			continue
		}
		out = append(out, match)
	}
	return out
}

// peerSet is a set of the peers of one family.
type peerSet struct {
	nft.Set
	v6     bool
	hosts  []netip.Addr
	ranges []nft.Range
}

func (s peerSet) len() int { return len(s.hosts) + len(s.ranges) }

// sets are those that have elements. Addresses are hashed, networks are a tree.
func (p peers) sets() []peerSet {
	var out []peerSet
	for _, s := range []peerSet{
		{nft.Set{Name: setHosts4, KeyLen: 4}, false, p.hosts4, nil},
		{nft.Set{Name: setNets4, KeyLen: 4, Interval: true}, false, nil, p.nets4},
		{nft.Set{Name: setHosts6, KeyLen: 16}, true, p.hosts6, nil},
		{nft.Set{Name: setNets6, KeyLen: 16, Interval: true}, true, nil, p.nets6},
	} {
		if s.len() > 0 {
			s.Timeout = true
			if !s.Interval {
				s.Size = s.len() // so that the table has its size from the start
			}
			out = append(out, s)
		}
	}
	return out
}
