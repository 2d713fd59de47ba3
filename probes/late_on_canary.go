package probes

import (
	"context"
	"fmt"

	"github.com/lockaudit/lockaudit/history"
)

// Cases of the writes that stand for the application's own.
const (
	caseCanaryStale   = "canary-stale"
	caseCanaryMissing = "canary-missing"
)

// lateOnCanary does on rows of the audit's own what the application was kept from: a
// write with a token that another grant has overtaken, and one without any. All tokens
// were granted to the clients that use them; none is made up.
func (t *Trial) lateOnCanary(ctx context.Context) error {
	late, err := t.party(ctx, "canary-a")
	if err != nil {
		return err
	}
	next, err := t.party(ctx, "canary-b")
	if err != nil {
		return err
	}
	row := fmt.Sprintf("late-%d", t.Number)
	if err := late.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	if err := late.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	stale := late.hold.Token
	if err := definite("the first write", late.write(ctx, entry{row: row, value: "first", token: stale})); err != nil {
		return err
	}
	if r := late.release(ctx); r.Type != history.OK {
		return outcome("client canary-a releases "+t.Key, r)
	}
	if err := next.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	if err := definite("the newer write", next.write(ctx, entry{row: row, value: "newer", token: next.hold.Token})); err != nil {
		return err
	}
	if err := definite("the stale write", late.write(ctx, entry{row: row, value: "stale", kase: caseCanaryStale, token: stale})); err != nil {
		return err
	}
	if err := definite("the write without a token", late.write(ctx, entry{row: row, value: "none", kase: caseCanaryMissing})); err != nil {
		return err
	}
	next.release(ctx)
	return nil
}
