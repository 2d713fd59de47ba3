package probes

import (
	"context"
	"errors"
	"fmt"
)

// loseNode is the silent loss of a machine: no FIN and no RST tells the lock
// service, so that only the lease, or a keepalive, can.
//
// The whole node is cut, not A's packets alone: once A is dead the kernel answers for
// its sockets, and the reset that it sends is nobody's.
func loseNode() Probe {
	return Probe{
		Name:     "lose-node",
		About:    "A's node falls silent and the holder dies: how long until B can acquire, against the lease?",
		needs:    []need{twoNodes, lockPeers},
		MaxFault: leaseLimit,
		Demands:  cutsOffA(leaseLimit),
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("packets between %s and the lock service (%s) vanish, for at most %s", p.NodeA, places(p), leaseLimit(p)),
				fmt.Sprintf("then kill -9 of the audit's own lock client a on %s while it holds %s", p.NodeA, p.Key),
				fmt.Sprintf("wait at most %s for the lease to end, then acquire on %s", p.TTL+leaseSlack(p.TTL), p.NodeB),
			}
		},
		Trial: silence,
	}
}

func silence(ctx context.Context, t *Trial) (err error) {
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	// A grant that was waited for would not say when its lease began.
	if err := a.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	t.step("1 acquire lock on A")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	t.step("2 cut A's node off, then kill A")
	cuts := &cuts{t: t}
	defer func() { err = errors.Join(err, cuts.heal(ctx)) }()
	if err := cuts.cut(ctx, t.NodeA, "a", t.offLock(leaseLimit(t.Params))); err != nil {
		return err
	}
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
	return cuts.heal(ctx)
}
