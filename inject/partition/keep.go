package partition

import (
	"errors"

	"github.com/lockaudit/lockaudit/inject"
)

// Taker reads a queue of user space, so that the packets that leave are kept back
// instead of lost. It is called in the network namespace.
type Taker func(queue uint16) (Taken, error)

// Taken are the packets that were kept back.
type Taken interface {
	// Release lets all of them go, in order, and returns how many once none is left.
	// It may be called again.
	Release() (int, error)
	// Close ends it. What it has not let go of is lost.
	Close()
}

// NewKeeping is the fault of another kind, which keeps packets back.
func NewKeeping(kind string, t Taker) *Fault {
	f := New()
	f.kind, f.taker = kind, t
	return f
}

// keepOnly checks an order to keep packets back.
func (c *cut) keepOnly() error {
	switch {
	case c.direction == "in", c.asked == "both":
		return errors.New("only what leaves can be kept back: the direction is out")
	case c.flap.period > 0:
		return errors.New("what is kept back does not flap")
	}
	c.direction = "out"
	return nil
}

var _ inject.Fault = (*Fault)(nil)
