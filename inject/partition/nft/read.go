package nft

import (
	"errors"

	"golang.org/x/sys/unix"
)

// tableOwner is NFTA_TABLE_OWNER.
const tableOwner = 7

// Table says whether there is one of that name, and the number of the socket that
// owns it, or 0.
func (c *Conn) Table(f Family, name string) (there bool, owner uint32, err error) {
	err = c.query(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, f, false, putString(nil, unix.NFTA_TABLE_NAME, name), func(a attr) {
		there, owner = true, a.find(tableOwner).uint32()
	})
	if errors.Is(err, unix.ENOENT) {
		return false, 0, nil
	}
	return there, owner, err
}

// HasChain says whether a table has a chain of that name.
func (c *Conn) HasChain(f Family, table, name string) (bool, error) {
	a := putString(nil, unix.NFTA_CHAIN_TABLE, table)
	err := c.query(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, f, false, putString(a, unix.NFTA_CHAIN_NAME, name), func(attr) {})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// CountElements counts the elements of a set that are in effect, without the ends
// of ranges.
func (c *Conn) CountElements(f Family, table, set string) (int, error) {
	n := 0
	a := putString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table)
	a = putString(a, unix.NFTA_SET_ELEM_LIST_SET, set)
	err := c.query(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM, f, true, a, func(a attr) {
		a.find(unix.NFTA_SET_ELEM_LIST_ELEMENTS).each(func(_ uint16, e attr) {
			if e.find(unix.NFTA_SET_ELEM_FLAGS).uint32()&unix.NFT_SET_ELEM_INTERVAL_END == 0 {
				n++
			}
		})
	})
	return n, err
}

// Count is what the counters of a chain have seen.
type Count struct {
	Rules          int // that have a counter
	Packets, Bytes uint64
}

// Counters adds up the counters of the rules of a chain.
func (c *Conn) Counters(f Family, table, chain string) (Count, error) {
	var n Count
	a := putString(nil, unix.NFTA_RULE_TABLE, table)
	a = putString(a, unix.NFTA_RULE_CHAIN, chain)
	err := c.query(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, f, true, a, func(a attr) {
		if a.find(unix.NFTA_RULE_TABLE).string() != table || a.find(unix.NFTA_RULE_CHAIN).string() != chain {
			return // a kernel that does not filter
		}
		a.find(unix.NFTA_RULE_EXPRESSIONS).each(func(_ uint16, e attr) {
			if e.find(unix.NFTA_EXPR_NAME).string() == "counter" {
				d := e.find(unix.NFTA_EXPR_DATA)
				n.Rules++
				n.Bytes += d.find(unix.NFTA_COUNTER_BYTES).uint64()
				n.Packets += d.find(unix.NFTA_COUNTER_PACKETS).uint64()
			}
		})
	})
	return n, err
}
