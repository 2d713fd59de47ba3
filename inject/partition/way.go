package partition

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition/nft"
)

// way is how a packet that leaves is made to vanish, without an error for its
// sender. The first that the kernel has is used:
//
//   - queue: nftables' own expression hands it to a queue that nobody reads;
//   - target: the same by iptables' NFQUEUE, for kernels that have only that;
//   - forward: in the egress hook of every interface it is sent out of lo, which
//     drops it as not addressed to it (kernel 5.16). This one costs a second table
//     with every peer once more, does not see interfaces that appear later, and
//     cannot tell whose packet it is.
type way string

const (
	queue     way = "queue"
	viaTarget way = "target"
	forward   way = "forward"
)

// means is what the kernel was seen to have.
type means struct {
	missing error // nothing works
	way     way   // "" if none
	noWay   error // why there is none
	noScope error // why one process cannot be told from another
	noOwner bool
}

// take is what ends a rule for packets that leave.
func (u undo) take() []nft.Expr {
	switch u.Way {
	case queue:
		return []nft.Expr{nft.Queue(u.Queue)}
	case viaTarget:
		return []nft.Expr{nft.QueueTarget(u.Queue)}
	default:
		return nft.Forward(loopbackIndex)
	}
}

// loopbackIndex is LOOPBACK_IFINDEX: the first device of every namespace.
const loopbackIndex = 1

// choose fills in how the order is carried out, or says why it cannot be.
func (f *Fault) choose(u *undo, c cut, seen sight) error {
	m, err := f.means()
	switch {
	case err != nil:
		return err
	case m.missing != nil:
		return m.missing
	case u.Group != nil && m.noScope != nil:
		return fmt.Errorf("cut off one process: %w", m.noScope)
	}
	u.Owner = !m.noOwner
	switch {
	case !c.out():
		return nil
	case m.way == "":
		return fmt.Errorf("cut what leaves: %w; cut direction in, at both ends", m.noWay)
	case m.way == forward && (u.Group != nil || f.taker != nil):
		return fmt.Errorf("%s: no queues of user space (nft_queue or xt_NFQUEUE): %w", f.kind, inject.ErrUnsupported)
	}
	u.Way = m.way
	if m.way == forward {
		u.Devices = seen.devices
		return nil
	}
	u.Queue = freeQueue(seen.queues)
	return nil
}

// freeQueue draws the number of a queue that nobody reads. Others use low numbers,
// and the same in every run: a random one stays unread.
func freeQueue(taken []uint16) uint16 {
	for {
		n := uint16(1024 + rand.IntN(65535-1024))
		free := true
		for _, t := range taken {
			free = free && t != n
		}
		if free {
			return n
		}
	}
}

// readQueues lists the queues that somebody reads, from /proc/net/netfilter/nfnetlink_queue:
// number, port of the reader, …
func readQueues(b []byte) []uint16 {
	var out []uint16
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) == 0 {
			continue
		}
		if n, err := strconv.ParseUint(f[0], 10, 16); err == nil {
			out = append(out, uint16(n))
		}
	}
	return out
}
