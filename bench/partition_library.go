package main

import (
	"net/netip"

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

func (l *transient) remove() error {
	c, err := nftables.New(nftables.WithNetNSFd(l.netns))
	if err != nil {
		return err
	}
	c.DelTable(l.table)
	return c.Flush()
}
