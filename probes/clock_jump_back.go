package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// lateLease is how long after its holder's death a lease is watched under a clock that
// went back. It is what recovers_after_crash allows a takeover: a lease that is longer
// then is not only a slow one.
func lateLease(p Params) time.Duration { return 2*p.TTL + 5*time.Second }

// back is a step that keeps a lease which ends at a time of day alive for longer than
// it is watched.
func back(p Params) time.Duration { return 2 * lateLease(p) }

// jumpBack steps the wall clocks of all lock servers back while A holds the lock, and
// kills A: does its lease ever end? Where it does not, the clocks are put right, and
// only a lease that ends with that was kept by them.
func (t *Trial) jumpBack(ctx context.Context) (err error) {
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return err
	}
	a, b, _, shared, err := t.lend(ctx, caseBack)
	if err != nil {
		return err
	}
	if !shared {
		a.release(ctx)
		return nil // B has a store of its own, and waits for no lease of A's
	}
	t.step(fmt.Sprintf("2 step the lock servers' clocks by -%s", back(t.Params)))
	skews := &skews{t: t}
	defer func() { err = errors.Join(err, skews.end(ctx)) }()
	if err := skews.servers(ctx, t.ClockNodes, Skew{Offset: -back(t.Params), For: leaseLimit(t.Params)}); err != nil {
		return err
	}
	switch held, _, err := observer.look(ctx, true); {
	case err != nil:
		return err
	case !held:
		return fmt.Errorf("%w: A's lease was over before the clocks had jumped", ErrPremise)
	}
	t.step("3 kill A, B acquires when its lease is over")
	if err := a.kill(ctx); err != nil {
		return err
	}
	ended, err := observer.untilOver(ctx, time.Now().Add(lateLease(t.Params)))
	if err != nil {
		return err
	}
	granted := b.tryAcquire(ctx, 0).Type == history.OK
	if err := t.readClocks(ctx); err != nil {
		return err
	}
	t.step("4 put the clocks right")
	if err := skews.end(ctx); err != nil {
		return err
	}
	if granted {
		b.release(ctx)
	}
	if ended {
		return nil
	}
	return observer.untilFree(ctx, t.TTL)
}

// untilOver asks the service whether anybody holds the lock, until nobody does or until
// the given moment. The first look and the last are kept.
func (p *party) untilOver(ctx context.Context, end time.Time) (over bool, err error) {
	p.t.Progress("waiting for the lease to end", end)
	first := true
	over, err = poll(ctx, end, func() (bool, error) {
		held, _, err := p.look(ctx, first)
		first = false
		return !held, err
	})
	if err != nil || over {
		return over, err
	}
	held, _, err := p.look(ctx, true)
	return !held, err
}
