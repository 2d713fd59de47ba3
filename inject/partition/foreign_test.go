package partition_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/partition"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// populate makes what others may have in a namespace: tables of several families with
// rules, sets and maps, one with a name much like ours, queueing disciplines with
// classes, policy rules and routes.
func (h *host) populate() {
	h.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(h.file.Fd())), nftables.AsLasting())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = c.CloseLasting() }()
	for i, x := range []struct {
		family nftables.TableFamily
		name   string
	}{{nftables.TableFamilyIPv4, "filter"}, {nftables.TableFamilyINet, "firewalld"}, {nftables.TableFamilyINet, "lockaudit-"}, {nftables.TableFamilyIPv6, "lockaudit-t0"}} {
		t := c.AddTable(&nftables.Table{Family: x.family, Name: x.name})
		ch := c.AddChain(&nftables.Chain{Name: "input", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		// With a number of its own: the library counts them without a lock.
		set := &nftables.Set{ID: uint32(i + 1), Table: t, Name: "denied", KeyType: nftables.TypeIPAddr}
		if err := c.AddSet(set, []nftables.SetElement{{Key: net.IP{192, 0, 2, 1}}, {Key: net.IP{192, 0, 2, 2}}}); err != nil {
			h.t.Fatal(err)
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: "foreign"})
	c.AddChain(&nftables.Chain{Name: "ingress", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter, Device: "eth0"})
	if err := c.Flush(); err != nil {
		h.t.Fatal(err)
	}
	h.links(func(n *netlink.Handle) error {
		l, err := n.LinkByName("eth0")
		if err != nil {
			return err
		}
		// The address of the link itself gets its routes when nobody else was found to have
		// it, a second later: a change that is nobody's doing.
		all, err := n.AddrList(l, netlink.FAMILY_V6)
		for _, a := range all {
			if a.IP.IsLinkLocalUnicast() {
				err = errors.Join(err, n.AddrDel(l, &a))
			}
		}
		if err != nil {
			return err
		}
		htb := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0x10, 0), Parent: netlink.HANDLE_ROOT})
		htb.Defcls = 1 // what passes it by is counted
		attrs := htb.QdiscAttrs
		rule := netlink.NewRule()
		rule.Table, rule.Priority, rule.Mark = 100, 1000, 7
		_, dst, _ := net.ParseCIDR("198.51.100.0/24")
		return errors.Join(
			n.QdiscAdd(htb),
			n.ClassAdd(netlink.NewHtbClass(netlink.ClassAttrs{LinkIndex: attrs.LinkIndex, Parent: attrs.Handle, Handle: netlink.MakeHandle(0x10, 1)}, netlink.HtbClassAttrs{Rate: 1e9})),
			n.RuleAdd(rule),
			n.RouteAdd(&netlink.Route{LinkIndex: attrs.LinkIndex, Dst: dst, Table: 100, Scope: netlink.SCOPE_LINK}),
		)
	})
}

// dump is all of it, byte by byte as the kernel sends it, without counters and ages.
func (h *host) dump() string {
	h.t.Helper()
	var out strings.Builder
	add := func(what string, messages [][]byte, header int, without ...uint16) error {
		for _, m := range messages {
			attrs, err := nl.ParseRouteAttr(m[header:])
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			fmt.Fprintf(&out, "%s %x", what, m[:header])
			for _, a := range attrs {
				if !slices.Contains(without, a.Attr.Type) {
					fmt.Fprintf(&out, " %d:%x", a.Attr.Type, a.Value)
				}
			}
			out.WriteByte('\n')
		}
		return nil
	}
	h.in(func() error {
		for _, kind := range []int{unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETRULE, unix.NFT_MSG_GETSET, unix.NFT_MSG_GETOBJ, unix.NFT_MSG_GETFLOWTABLE} {
			r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_DUMP)
			r.AddData(&nl.Nfgenmsg{Version: nl.NFNETLINK_V0})
			m, err := r.Execute(unix.NETLINK_NETFILTER, 0)
			if err != nil {
				return fmt.Errorf("dump nft %d: %w", kind, err)
			}
			for i := range m {
				m[i][2], m[i][3] = 0, 0 // the generation, which counts every change
			}
			if err := add(fmt.Sprintf("nft %d", kind), m, 4); err != nil {
				return err
			}
		}
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		tc := &nl.TcMsg{Ifindex: int32(link.Attrs().Index)}
		for _, x := range []struct {
			kind    int
			data    nl.NetlinkRequestData
			header  int
			without []uint16
		}{
			{unix.RTM_GETQDISC, tc, nl.SizeofTcMsg, []uint16{nl.TCA_STATS, nl.TCA_XSTATS, nl.TCA_STATS2}},
			{unix.RTM_GETTCLASS, tc, nl.SizeofTcMsg, []uint16{nl.TCA_STATS, nl.TCA_XSTATS, nl.TCA_STATS2}},
			{unix.RTM_GETTFILTER, tc, nl.SizeofTcMsg, nil},
			{unix.RTM_GETRULE, nl.NewRtMsg(), unix.SizeofRtMsg, nil},
			{unix.RTM_GETROUTE, nl.NewRtMsg(), unix.SizeofRtMsg, []uint16{unix.RTA_CACHEINFO}},
		} {
			r := nl.NewNetlinkRequest(x.kind, unix.NLM_F_DUMP)
			r.AddData(x.data)
			m, err := r.Execute(unix.NETLINK_ROUTE, 0)
			if err != nil {
				return fmt.Errorf("dump route %d: %w", x.kind, err)
			}
			if err := add(fmt.Sprintf("route %d", x.kind), m, x.header, x.without...); err != nil {
				return err
			}
		}
		return nil
	})
	return out.String() + h.snapshot() // with the elements of the sets
}

// crowded is a namespace that is full of other people's objects.
func crowded(t *testing.T) injecttest.Target {
	a, b := pair(t)
	a.populate()
	s := a.spec(long, partition.Params{Peers: []string{"10.99.0.2", "fd99::2", "10.98.0.0/24"}})
	return injecttest.Target{Params: s.Params, Snapshot: a.dump, Remove: func() { a.remove(); b.remove() }}
}

// TestDump: it has something of everything that it is meant to show.
func TestDump(t *testing.T) {
	t.Parallel()
	dump := crowded(t).Snapshot()
	for what, sample := range map[string]string{"tables": "nft 1 ", "rules": "nft 7 ", "qdiscs": "route 38 ", "classes": "route 42 ", "policy rules": "route 34 ", "routes": "route 26 "} {
		if !strings.Contains(dump, sample) {
			t.Errorf("the dump has no %s:\n%s", what, dump)
		}
	}
}

// TestForeignObjectsAfterFailure: after a forced failure at every step, and after an
// order that was given up, everything of others is byte for byte as it was. TestConformance
// shows the same of success, of kill -9 at every step, and of a revert from the plan.
func TestForeignObjectsAfterFailure(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	a.populate()
	before := a.dump()
	forced := errors.New("forced")
	for _, step := range []string{"held", "part", "cut", "given up"} {
		for _, f := range []*partition.Fault{partition.New(), partition.NewWithoutOwner(), partition.NewForwarding()} {
			if step != "given up" {
				f.FailAt(step, forced)
			}
			p, err := f.Prepare(testContext(t), a.spec(long, partition.Params{Peers: append(addresses(2000), "10.99.0.2", "10.98.0.0/16")}))
			if err != nil {
				t.Fatal(err)
			}
			p.ID = "t"
			ctx, cancel := context.WithCancel(testContext(t))
			if step == "given up" {
				cancel()
			}
			if _, err := f.Inject(ctx, p); !errors.Is(err, forced) && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: inject: %v", step, err)
			}
			cancel()
			if _, err := f.Revert(testContext(t), p); err != nil {
				t.Errorf("%s: revert: %v", step, err)
			}
			if now := a.dump(); now != before {
				t.Errorf("%s: after revert:\n%s\nbefore:\n%s", step, now, before)
			}
		}
	}
}
