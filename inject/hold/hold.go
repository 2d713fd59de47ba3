// Package hold keeps the packets from a network namespace, or one process in it, to
// its peers back, and lets them go at the end: what was on its way arrives late, and
// not at all before.
//
// It is the partition's table with a queue of user space that somebody reads. The
// kernel keeps the packets themselves, so that release delivers them within a
// millisecond; a partition would leave that to TCP's next retransmission, at up to
// twice the time. While they are kept TCP does not send them again: it knows that
// they have not left the machine.
//
// When the guard dies its queue is gone, with what is in it, and the table too; TCP
// sends again. When it is stopped, the peers' elements end at the deadline, new
// packets pass, and the kept ones wait until it goes on or is killed for being
// overdue.
package hold

import (
	"github.com/lockaudit/lockaudit/inject/partition"
)

// Kind is the word for this fault in an order.
const Kind = "hold"

// New returns a hold that keeps nothing yet. Its params are those of a partition,
// with the direction out.
func New() *partition.Fault {
	return partition.NewKeeping(Kind, func(number uint16) (partition.Taken, error) { return open(number) })
}
