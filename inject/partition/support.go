package partition

import (
	"errors"
	"fmt"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// probeName is the table that is tried and never made.
const probeName = "lockaudit-probe"

// Support asks the kernel, by changes that it checks and rolls back.
func (f *Fault) Support() (bool, string) {
	ns, err := Netns{}.open()
	if err != nil {
		return false, err.Error()
	}
	defer ns.close()
	conn, err := ns.dial()
	if err != nil {
		return false, err.Error()
	}
	defer closeLater(conn)
	missing := basics(conn)
	var egress error
	if missing == nil {
		egress = tryEgress(conn, "lo")
	}
	f.mu.Lock()
	f.missing, f.noEgress = missing, egress
	f.mu.Unlock()
	if missing != nil {
		return false, missing.Error()
	}
	why := ""
	if egress != nil {
		why = "only the direction in: no netdev egress hook with fwd, kernel 5.16 or later is needed"
	}
	b := &nft.Batch{}
	b.NewTable(nft.INet, probeName, nft.Owner)
	if err := conn.Try(b); unknownFlag(err) {
		if why != "" {
			why += "; "
		}
		why += "no tables with an owner, kernel 5.12 or later is needed: if the guard is killed, a partition ends at its deadline"
	}
	return true, why
}

// feasible goes by what Support found, which every agent asks first. It does not
// try again, because to roll back a try takes the kernel 10 ms and more; what an
// order meets in Inject, it meets before anything is in effect.
func (f *Fault) feasible(c cut) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.out() && f.noEgress != nil {
		return fmt.Errorf("cut what leaves: %w; cut direction in, at both ends", f.noEgress)
	}
	return f.missing
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

// tryEgress tries a rule that forwards in a chain of the family netdev, and the
// egress hook. The chain is empty: a hook is in place for the moment of the try.
func tryEgress(conn *nft.Conn, device string) error {
	b := &nft.Batch{}
	b.NewTable(nft.Netdev, probeName, 0)
	b.NewChain(nft.Netdev, probeName, "sink", nft.Hook{})
	b.NewRule(nft.Netdev, probeName, "sink", nft.Forward(1)...)
	b.NewChain(nft.Netdev, probeName, "probe", nft.Hook{On: true, Num: unix.NF_NETDEV_EGRESS, Device: device})
	return explain(conn.Try(b))
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
