package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"
)

const (
	// haltPoll is how often a guard with a fault in effect looks for a halt. A look
	// is one failed open, 2 µs; without a fault nothing is looked for, since every
	// order looks by itself. A file needs no rights beyond the ones that a guard has,
	// no free inotify instance, and cannot be missed.
	haltPoll = 50 * time.Millisecond
	// haltRetry is after how long a revert that failed is tried again.
	haltRetry = time.Second
)

// permits refuses an order on a halted node.
func (g *guard) permits() error {
	if h := Halted(g.state); h != nil {
		return fmt.Errorf("%w: %v", ErrHalted, *h)
	}
	return nil
}

// admit is the last step before a fault: its plan is in the journal. A halt either
// sees the plan there, or is seen here.
func (g *guard) admit(h *held) error {
	if err := g.permits(); err != nil {
		return err
	}
	e := entryOf(h.fault.Plan, trail.Inject, "")
	e.Result, e.Objects = trail.Ordered, h.fault.Plan.Objects
	if err := g.log.must(e); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.limits.room(len(g.active)); err != nil {
		return err
	}
	g.active[h.fault.ID] = h // from here on revertAll knows it
	select {
	case g.stir <- struct{}{}:
	default: // it looks already
	}
	return nil
}

// watchHalt reverts everything when the node is halted. It sleeps while nothing is
// in effect.
func (g *guard) watchHalt(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.stir:
		}
		wait := haltPoll
		for g.anyActive() {
			if h := Halted(g.state); h != nil {
				g.notice(NoticeHalted, "", h.String(), inject.Effect{})
				if err := g.revertAll(context.WithoutCancel(ctx), whyHalt); err != nil {
					wait = haltRetry
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

func (g *guard) anyActive() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.active) > 0
}

// Why a fault ended before its deadline.
const (
	whyOrder = "order"
	whyEnd   = "end of orders"
	whyHalt  = "halt"
	whyUndo  = "its injection failed"
)
