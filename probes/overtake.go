package probes

import (
	"context"
	"errors"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// overtake pauses A for at most limit, waits until its lease is over, has B acquire
// the lock and do its work, and resumes A. B's work comes before A is resumed: only
// then is what A does next late.
func (t *Trial) overtake(ctx context.Context, a, b *party, limit time.Duration, expire, resume string, work func() error) (err error) {
	t.step("2 pause A")
	fault, err := a.pause(ctx, limit)
	if err != nil {
		return err
	}
	resumed := false
	defer func() {
		if !resumed {
			err = errors.Join(err, a.resume(ctx, fault))
		}
	}()
	t.step("3 " + expire)
	if err := t.untilFree(ctx, a.hold.TTL); err != nil {
		return err
	}
	if err := b.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	if err := errors.Join(work(), t.unrecorded()); err != nil {
		return err
	}
	t.step("4 " + resume)
	resumed = true
	return a.resume(ctx, fault)
}

// definite fails with ErrPremise if nobody can tell whether a call that the script
// builds on happened; that it was refused is an outcome like any other.
func definite(what string, r clients.Reply) error {
	if r.Type == history.Info {
		return outcome(what, r)
	}
	return nil
}
