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
	if err := t.takeOver(ctx, a, b); err != nil {
		return err
	}
	if err := errors.Join(work(), t.unrecorded()); err != nil {
		return err
	}
	t.step("4 " + resume)
	resumed = true
	return a.resume(ctx, fault)
}

// holdAndWrite has A acquire the free lock and write once, so that a resource that
// compares tokens for equality has one to compare with.
func (t *Trial) holdAndWrite(ctx context.Context, a *party, row string) error {
	// A grant that was waited for would not say when its lease began.
	if err := a.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	t.step("1 acquire lock on A")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	return definite("A's first write", a.write(ctx, entry{row: row, value: "a-first", token: a.hold.Token}))
}

// takeOver waits until A's lease is over, and has B acquire the lock.
func (t *Trial) takeOver(ctx context.Context, a, b *party) error {
	if err := t.untilFree(ctx, a.hold.TTL); err != nil {
		return err
	}
	return b.acquire(ctx, t.fresh())
}

// definite fails with ErrPremise if nobody can tell whether a call that the script
// builds on happened; that it was refused is an outcome like any other.
func definite(what string, r clients.Reply) error {
	if r.Type == history.Info {
		return outcome(what, r)
	}
	return nil
}
