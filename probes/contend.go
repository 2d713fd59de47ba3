package probes

import (
	"context"
	"fmt"
	"time"
)

// contend makes B fail to get a lock that A holds: at once, and after waiting.
// How that is told to the caller is the record; whether metrics and logs show it
// needs signals in the plan.
func contend() Probe {
	const attempts = 3
	const wait = 200 * time.Millisecond
	return Probe{
		Name:  "contend",
		About: "B tries to acquire while A holds: is the failure definite and visible?",
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("acquire %s on %s, and try it %d times on %s while it is held", p.Key, p.NodeA, attempts+1, p.NodeB),
			}
		},
		Trial: func(ctx context.Context, t *Trial) error {
			a, b, err := t.pair(ctx)
			if err != nil {
				return err
			}
			t.step("1 acquire lock on A")
			if err := a.acquire(ctx, t.fresh()); err != nil {
				return err
			}
			t.step("2 B tries while A holds")
			for range attempts {
				b.tryAcquire(ctx, 0)
			}
			b.tryAcquire(ctx, wait)
			t.step("3 release on A, acquire on B")
			a.release(ctx)
			if err := b.acquire(ctx, t.fresh()); err != nil {
				return err
			}
			b.release(ctx)
			return nil
		},
	}
}

// fresh is how long to wait for the audit's own key: what an earlier trial left
// held ends with its lease.
func (t *Trial) fresh() time.Duration { return t.TTL + leaseSlack(t.TTL) }
