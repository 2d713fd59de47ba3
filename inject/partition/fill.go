package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// most is how many elements one batch has, which keeps it below the 212 kB that
// any socket takes: an IPv6 network is 2 elements of 44 and 32 bytes.
const most = 1500

// slack is added to the time after which the elements end by themselves, because
// they are made before the rules that give them effect; the guard's revert comes
// first. It is what making n elements takes at most.
func slack(n int) time.Duration { return time.Millisecond + time.Duration(n)*time.Microsecond }

// make makes the partition and returns since when it is in effect. It is one
// change as far as it fits into one, because each costs the kernel time of its
// own; if not, the chains come with the last one.
func (h *held) make(f *Fault, c cut, mark string, d time.Duration) (since time.Duration, err error) {
	all := families(h.sides)
	b, n := &nft.Batch{}, 0
	h.begin(b, all, c, mark)
	room := func() (int, error) { // how many elements may be added now
		if n < most {
			return most - n, nil
		}
		err := h.commit(b)
		b, n = &nft.Batch{}, 0
		return most, errors.Join(err, f.step("part"))
	}
	until := inject.Now() + d + slack(len(all)*c.peers.count())
	for _, family := range all {
		for _, set := range c.peers.sets() {
			for done := 0; done < set.len(); {
				free, err := room()
				if err != nil {
					return 0, err
				}
				k := min(free, set.len()-done)
				left := until - inject.Now()
				if len(set.hosts) > 0 {
					b.AddAddresses(family, h.table, set.Name, set.hosts[done:done+k], left)
				} else {
					b.AddRanges(family, h.table, set.Name, set.ranges[done:done+k], left)
				}
				done, n = done+k, n+k
			}
		}
		if c.flap.period > 0 {
			b.AddKey(family, h.table, setGate, gateKey, c.flap.on)
		}
	}
	for _, s := range h.sides {
		s.build(b, h.table, c, h.u)
	}
	err = h.commit(b)
	return inject.Now(), err
}

// begin adds the tables with their mark and their sets.
func (h *held) begin(b *nft.Batch, all []nft.Family, c cut, mark string) {
	flags := uint32(0)
	if h.u.Owner {
		flags = nft.Owner
	}
	for _, family := range all {
		b.NewTable(family, h.table, flags)
		b.NewChain(family, h.table, mark, nft.Hook{})
		for _, set := range c.peers.sets() {
			b.NewSet(family, h.table, set.Set)
		}
		if len(c.ports) > 0 {
			b.NewSet(family, h.table, nft.Set{Name: setPorts, KeyLen: 2})
			b.AddPorts(family, h.table, setPorts, c.ports)
		}
		if c.flap.period > 0 {
			b.NewSet(family, h.table, nft.Set{Name: setGate, KeyLen: len(gateKey), Timeout: true})
		}
	}
}

// commit makes a change. The first one makes the tables, or nothing.
func (h *held) commit(b *nft.Batch) error {
	err := h.conn.Commit(b)
	switch {
	case h.made != nil:
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EPERM) && h.exists():
		return fmt.Errorf("a table %s exists already and is not ours: %w", h.table, inject.ErrRefused)
	case err == nil:
		h.made = families(h.sides)
	}
	return explain(err)
}

func (h *held) exists() bool {
	for _, f := range families(h.sides) {
		if there, _, err := h.conn.Table(f, h.table); err == nil && there {
			return true
		}
	}
	return false
}

// openGate has a flapping partition in effect for a time from now.
func (h *held) openGate(on time.Duration) error {
	b := &nft.Batch{}
	for _, family := range h.made {
		// To add it anew would not renew its time, and to delete what has ended fails.
		b.FlushSet(family, h.table, setGate)
		b.AddKey(family, h.table, setGate, gateKey, on)
	}
	return h.conn.Commit(b)
}
