package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/lockaudit/lockaudit/inject/partition"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// transient is the alternative: github.com/google/nftables as it comes, with a
// connection per operation.
type transient struct {
	netns int
	table *nftables.Table
}

func (l *transient) begin() (*nftables.Conn, *nftables.Chain, error) {
	c, err := nftables.New(nftables.WithNetNSFd(l.netns))
	if err != nil {
		return nil, nil, err
	}
	l.table = c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "alternative"})
	chain := c.AddChain(&nftables.Chain{Name: "in", Table: l.table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRaw})
	return c, chain, nil
}

// source loads the source address of a packet.
func source() *expr.Payload {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
}

// add drops what arrives from the peers, with a set.
func (l *transient) add(list []string) error {
	c, chain, err := l.begin()
	if err != nil {
		return err
	}
	set := &nftables.Set{Table: l.table, Name: "peers", KeyType: nftables.TypeIPAddr}
	if err := c.AddSet(set, nil); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	for len(list) > 0 {
		n := min(500, len(list))
		var elements []nftables.SetElement
		for _, s := range list[:n] {
			elements = append(elements, nftables.SetElement{Key: netip.MustParseAddr(s).AsSlice()})
		}
		if err := c.SetAddElements(set, elements); err != nil {
			return err
		}
		if err := c.Flush(); err != nil {
			return err
		}
		list = list[n:]
	}
	c.AddRule(&nftables.Rule{Table: l.table, Chain: chain, Exprs: []expr.Any{
		source(), &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
	return c.Flush()
}

// linear drops what arrives from the peers, with a rule for each.
func (l *transient) linear(list []string) error {
	c, chain, err := l.begin()
	if err != nil {
		return err
	}
	for i, s := range list {
		c.AddRule(&nftables.Rule{Table: l.table, Chain: chain, Exprs: []expr.Any{
			source(), &expr.Cmp{Register: 1, Data: netip.MustParseAddr(s).AsSlice()}, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
		if i%100 == 99 {
			if err := c.Flush(); err != nil {
				return err
			}
		}
	}
	return c.Flush()
}

func (l *transient) remove() error {
	c, err := nftables.New(nftables.WithNetNSFd(l.netns))
	if err != nil {
		return err
	}
	c.DelTable(l.table)
	return c.Flush()
}

// partitionCost measures what a delivered packet costs while other peers are cut
// off. The conditions take turns, so that the machine's moods meet all of them.
func partitionCost(ctx context.Context, n int) ([]row, error) {
	w, err := newCable()
	if err != nil {
		return nil, err
	}
	defer w.close()
	conditions := []struct {
		what, target string
		peers        int
		linear       bool
	}{
		{"no rule", "", 0, false},
		{"1 peer cut off", "", 1, false},
		{"1 000 peers cut off", "", 1000, false},
		{"10 000 peers cut off", "as with 1 (5 %), no rule + 15 %", 10_000, false},
		{"alternative: 1 000 linear rules", "", 1000, true},
	}
	in, out := make([][]float64, len(conditions)), make([][]float64, len(conditions))
	for range 10 * n {
		for i, x := range conditions {
			undo := func() error { return nil }
			switch {
			case x.linear:
				l := &transient{netns: int(w.a.file.Fd())}
				if err := l.linear(manyPeers(x.peers, false)); err != nil {
					return nil, err
				}
				undo = l.remove
			case x.peers > 0:
				spec, err := w.order(time.Minute, "both", manyPeers(x.peers, false))
				if err != nil {
					return nil, err
				}
				f := partition.New()
				p, err := f.Prepare(ctx, spec)
				if err != nil {
					return nil, err
				}
				p.ID = "bench"
				undo = func() error { _, err := f.Revert(ctx, p); return err }
				if _, err := f.Inject(ctx, p); err != nil {
					return nil, errors.Join(err, undo())
				}
			}
			a, err1 := perPacket(w.cb, w.ca)
			b, err2 := perPacket(w.ca, w.cb)
			if err := errors.Join(err1, err2, undo()); err != nil {
				return nil, err
			}
			in[i], out[i] = append(in[i], a), append(out[i], b)
		}
	}
	var rows []row
	for i, x := range conditions {
		rows = append(rows, row{"arriving packet, " + x.what, x.target, in[i], "ns"})
		if !x.linear {
			rows = append(rows, row{"leaving packet, " + x.what, x.target, out[i], "ns"})
		}
	}
	return rows, nil
}

// perPacket sends bursts that fit the receiver's buffer, and reads them between
// the measurements: the time is the sender's system call and, on the same core,
// the receiver's stack up to its socket.
func perPacket(from, to *net.UDPConn) (float64, error) {
	const bursts, burst = 10, 1000
	b, spent, got := make([]byte, 64), time.Duration(0), 0
	for range bursts {
		start := time.Now()
		for range burst {
			if _, err := from.Write(b); err != nil {
				return 0, err
			}
		}
		spent += time.Since(start)
		for range burst {
			_ = to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := to.Read(b); err != nil {
				break
			}
			got++
		}
	}
	if got < bursts*burst*99/100 {
		return 0, fmt.Errorf("only %d of %d packets arrived", got, bursts*burst)
	}
	return float64(spent.Nanoseconds()) / (bursts * burst), nil
}
