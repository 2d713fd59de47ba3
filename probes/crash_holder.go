package probes

import (
	"context"
	"fmt"
)

// crashHolder kills the holder with SIGKILL. The kernel still closes its
// sockets, so a service may notice; silent loss of a whole node is another probe.
func crashHolder() Probe {
	return Probe{
		Name:  "crash-holder",
		About: "the holder is killed: how long until B can acquire, against the lease?",
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("kill -9 of the audit's own lock client a on %s while it holds %s; nothing else is signalled", p.NodeA, p.Key),
				fmt.Sprintf("wait at most %s for the lease to end, then acquire on %s", p.TTL+leaseSlack(p.TTL), p.NodeB),
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
			t.step("2 kill A")
			if err := a.kill(ctx); err != nil {
				return err
			}
			t.step("3 expire lease, acquire on B")
			if err := t.untilFree(ctx, a.hold.TTL); err != nil {
				return err
			}
			if err := b.acquire(ctx, t.fresh()); err != nil {
				return err
			}
			b.release(ctx)
			return nil
		},
	}
}
