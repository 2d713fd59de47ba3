package nft

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Owner is NFT_TABLE_F_OWNER (kernel 5.12): the table is gone when the socket that
// made it is, and nobody else can change it.
const Owner = 2

// Batch is a list of changes that the kernel makes all together or not at all.
type Batch struct {
	items []item
	size  int
}

type item struct {
	kind, flags uint16
	family      Family
	attrs       []byte
	what        string // for errors
}

func (b *Batch) add(kind, flags uint16, f Family, attrs []byte, what string) {
	b.items = append(b.items, item{unix.NFNL_SUBSYS_NFTABLES<<8 | kind, flags | unix.NLM_F_REQUEST, f, attrs, what})
	b.size += len(attrs) + 20
}

// Size is about how many bytes the batch has. A socket takes 212 KB in one piece
// unless a privileged process raises that.
func (b *Batch) Size() int { return b.size }

// NewTable makes a table and fails with EEXIST if there is one of that name.
func (b *Batch) NewTable(f Family, name string, flags uint32) {
	a := putString(nil, unix.NFTA_TABLE_NAME, name)
	b.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, f, put32(a, unix.NFTA_TABLE_FLAGS, flags), "add table "+f.String()+" "+name)
}

// DelTable removes a table and everything in it.
func (b *Batch) DelTable(f Family, name string) {
	b.add(unix.NFT_MSG_DELTABLE, 0, f, putString(nil, unix.NFTA_TABLE_NAME, name), "delete table "+f.String()+" "+name)
}

// Hook is where a base chain sees packets; the zero value is no hook.
type Hook struct {
	On       bool
	Num      uint32
	Priority int32
	Device   string
}

// NewChain makes a chain.
func (b *Batch) NewChain(f Family, table, name string, h Hook) {
	a := putString(nil, unix.NFTA_CHAIN_TABLE, table)
	a = putString(a, unix.NFTA_CHAIN_NAME, name)
	if h.On {
		in := put32(nil, unix.NFTA_HOOK_HOOKNUM, h.Num)
		in = put32(in, unix.NFTA_HOOK_PRIORITY, uint32(h.Priority))
		if h.Device != "" {
			in = putString(in, unix.NFTA_HOOK_DEV, h.Device)
		}
		a = nest(a, unix.NFTA_CHAIN_HOOK, in)
		a = putString(a, unix.NFTA_CHAIN_TYPE, "filter")
	}
	b.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL, f, a, "add chain "+name+" "+h.Device)
}

// NewRule appends a rule to a chain.
func (b *Batch) NewRule(f Family, table, chain string, exprs ...Expr) {
	a := putString(nil, unix.NFTA_RULE_TABLE, table)
	a = putString(a, unix.NFTA_RULE_CHAIN, chain)
	a, at := open(a, unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range exprs {
		a = nest(a, unix.NFTA_LIST_ELEM, e)
	}
	b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, f, shut(a, at), "add rule to "+chain)
}

// Set describes a set of addresses or ports.
type Set struct {
	Name     string
	KeyLen   int
	Interval bool // elements are ranges
	Timeout  bool // elements end by themselves
	Size     int  // the most elements it will have; 0 is any
}

// keyType is only for people: nft prints elements by it (ipv4_addr, ipv6_addr,
// inet_service).
func (s Set) keyType() uint32 {
	switch s.KeyLen {
	case 4:
		return 7
	case 16:
		return 8
	default:
		return 13
	}
}

// NewSet makes an empty set.
func (b *Batch) NewSet(f Family, table string, s Set) {
	flags := uint32(0)
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.Timeout {
		flags |= unix.NFT_SET_TIMEOUT
	}
	a := putString(nil, unix.NFTA_SET_TABLE, table)
	a = putString(a, unix.NFTA_SET_NAME, s.Name)
	a = put32(a, unix.NFTA_SET_ID, uint32(len(b.items)+1))
	a = put32(a, unix.NFTA_SET_FLAGS, flags)
	a = put32(a, unix.NFTA_SET_KEY_TYPE, s.keyType())
	a = put32(a, unix.NFTA_SET_KEY_LEN, uint32(s.KeyLen))
	if s.Size > 0 {
		a = nest(a, unix.NFTA_SET_DESC, put32(nil, unix.NFTA_SET_DESC_SIZE, uint32(s.Size)))
	}
	b.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL, f, a, "add set "+s.Name)
}

// Commit makes the changes.
func (c *Conn) Commit(b *Batch) error { return c.exchange(b, true) }

// Try asks whether the kernel would make the changes, and changes nothing: a batch
// without an end is checked and rolled back.
func (c *Conn) Try(b *Batch) error { return c.exchange(b, false) }

func (c *Conn) exchange(b *Batch, end bool) error {
	if len(b.items) == 0 {
		return nil
	}
	begin := c.seq + 1
	out := encode(make([]byte, 0, b.size+64), unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, begin, 0, nil)
	for i, it := range b.items {
		flags := it.flags
		if i == len(b.items)-1 {
			flags |= unix.NLM_F_ACK
		}
		out = encode(out, it.kind, flags, begin+1+uint32(i), it.family, it.attrs)
	}
	last := begin + uint32(len(b.items))
	c.seq = last + 1
	if end {
		out = encode(out, unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, c.seq, 0, nil)
	}
	if err := c.send(out); err != nil {
		return fmt.Errorf("%s: %w", b.items[0].what, err)
	}
	return c.answers(b, begin, last)
}

// answers collects errors until the answer to the last message. An error of the
// whole batch (no permission, failed commit) carries the number of its begin.
func (c *Conn) answers(b *Batch, begin, last uint32) error {
	var errs []error
	for stop, deadline := false, time.Now().Add(patience); !stop; {
		err := c.receive(func(m message) {
			if m.kind != unix.NLMSG_ERROR || m.seq-begin > last-begin {
				return
			}
			stop = stop || m.seq == last || m.seq == begin
			if e := m.errno(); e != 0 {
				what := "change tables"
				if m.seq != begin {
					what = b.items[m.seq-begin-1].what
				}
				errs = append(errs, fmt.Errorf("%s: %w", what, e))
			}
		})
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if time.Now().After(deadline) {
			return errors.Join(append(errs, errors.New("netfilter does not answer"))...)
		}
	}
	return errors.Join(errs...)
}
