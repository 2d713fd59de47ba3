package partition

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// probeName is the table that is tried and never made.
const probeName = "lockaudit-probe"

// Support asks the kernel, by changes that it checks and rolls back.
func (f *Fault) Support() (bool, string) {
	m, err := ask(f.owner)
	if err != nil {
		return false, err.Error()
	}
	f.mu.Lock()
	f.found = &m
	f.mu.Unlock()
	if m.missing != nil {
		return false, m.missing.Error()
	}
	if f.taker != nil && (m.way == "" || m.way == forward) {
		return false, "no queues of user space: the kernel needs nft_queue or xt_NFQUEUE"
	}
	var why []string
	if m.way == "" {
		why = append(why, "only the direction in: neither queues of user space (nft_queue or xt_NFQUEUE) nor a netdev egress hook with fwd (kernel 5.16)")
	}
	if m.noScope != nil || m.way == forward {
		why = append(why, "not for one process: socket cgroupv2 (kernel 5.13) and queues of user space are needed")
	}
	if m.noOwner {
		why = append(why, "no tables with an owner, kernel 5.12 or later is needed: if the guard is killed, it ends at its deadline")
	}
	return true, strings.Join(why, "; ")
}

// Ask implements inject.Asker.
func (f *Fault) Ask() error {
	m, err := ask(f.owner)
	if err == nil {
		err = m.missing
	}
	return err
}

// means is what Support found, which every agent asks first: to roll back a try
// takes the kernel 10 ms and more.
func (f *Fault) means() (means, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found == nil {
		m, err := ask(f.owner)
		if err != nil {
			return means{}, err
		}
		f.found = &m
	}
	return *f.found, nil
}

// ask tries in the namespace of this process.
func ask(owner uint32) (means, error) {
	ns, err := netns.Name{}.Open(context.Background())
	if err != nil {
		return means{}, err
	}
	defer ns.Close()
	conn, err := dial(ns)
	if err != nil {
		return means{}, err
	}
	defer closeLater(conn)
	m := means{missing: basics(conn)}
	if m.missing != nil {
		return m, nil
	}
	for _, w := range []way{queue, viaTarget, forward} {
		err := tryWay(conn, w)
		if err == nil {
			m.way = w
			break
		}
		m.noWay = errors.Join(m.noWay, err)
	}
	if m.noWay != nil {
		m.noWay = fmt.Errorf("neither queues of user space nor a netdev egress hook with fwd, kernel 5.16 or later is needed: %w", inject.ErrUnsupported)
	}
	m.noScope = tryScope(conn)
	b := &nft.Batch{}
	b.NewTable(nft.INet, probeName, owner)
	err = conn.Try(b)
	// This is how a kernel before 5.12 answers to the flag.
	m.noOwner = owner == 0 || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
	return m, nil
}

// basics tries a table, a chain in INPUT and sets whose elements time out.
func basics(conn *nft.Conn) error {
	b := &nft.Batch{}
	b.NewTable(nft.INet, probeName, 0)
	b.NewChain(nft.INet, probeName, "probe", nft.Hook{})
	b.NewSet(nft.INet, probeName, nft.Set{Name: setHosts4, KeyLen: 4, Timeout: true})
	b.NewSet(nft.INet, probeName, nft.Set{Name: setNets4, KeyLen: 4, Timeout: true, Interval: true})
	b.NewRule(nft.INet, probeName, "probe", nft.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 12, 4), nft.In(setHosts4), nft.Counter(), nft.Drop())
	return explain(conn.Try(b))
}

// tryWay tries a rule that makes a packet vanish. Chains without a hook are enough
// for the queues; the egress hook itself is tried, with an empty chain, on lo.
func tryWay(conn *nft.Conn, w way) error {
	family := nft.INet
	if w == forward {
		family = nft.Netdev
	}
	b := &nft.Batch{}
	b.NewTable(family, probeName, 0)
	b.NewChain(family, probeName, "take", nft.Hook{})
	b.NewRule(family, probeName, "take", undo{Way: w, Queue: 1}.take()...)
	if w == forward {
		b.NewChain(family, probeName, "probe", nft.Hook{On: true, Num: unix.NF_NETDEV_EGRESS, Device: "lo"})
	}
	return explain(conn.Try(b))
}

// tryScope tries to match the control group of a packet's socket.
func tryScope(conn *nft.Conn) error {
	b := &nft.Batch{}
	b.NewTable(nft.INet, probeName, 0)
	b.NewChain(nft.INet, probeName, "probe", nft.Hook{})
	b.NewRule(nft.INet, probeName, "probe", nft.SocketGroup(1, 1)...)
	if err := explain(conn.Try(b)); err != nil {
		return fmt.Errorf("socket cgroupv2, kernel 5.13 or later is needed: %w", err)
	}
	return nil
}

// explain turns what the kernel says into what is missing.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("CAP_NET_ADMIN is needed: %w: %w", err, inject.ErrUnsupported)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("this kernel's nf_tables cannot do it: %w: %w", err, inject.ErrUnsupported)
	case errors.Is(err, unix.ENOENT): // a kind of chain or expression that is a module
		return fmt.Errorf("this kernel's nf_tables lacks a module (nft_counter, nft_fwd_netdev …) and may not load it: %w: %w", err, inject.ErrUnsupported)
	}
	return err
}
