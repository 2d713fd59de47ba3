package probes

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// clockJumpHolder steps the wall clock of the holder itself. Forward, it must not give
// up a lease that is running. Back, and then paused past its lease, it must notice that
// the lease is over: one that goes by the wall clock believes in it for longer.
func clockJumpHolder() Probe {
	limit := func(p Params) time.Duration { return leaseLimit(p) + p.TTL + 2*callLimit }
	return Probe{
		Name:     "clock-jump-holder",
		About:    "the holder's wall clock jumps forward and back: does it give up a running lease, or believe in one that is over?",
		MaxFault: limit,
		Trials:   once,
		Demands: func(p Params) []Demand {
			return []Demand{
				{Node: p.NodeA, Kind: clockFault, For: limit(p), Client: "a"},
				{Node: p.NodeA, Kind: "pause", For: leaseLimit(p), Client: "a"},
			}
		},
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("the audit's own lock client a on %s is shown a wall clock that is %s ahead, and then as much behind, for at most %s", p.NodeA, beyond(p), limit(p)),
				fmt.Sprintf("SIGSTOP of a, for at most %s, until its lease is over and b has acquired", leaseLimit(p)),
				fmt.Sprintf("acquire %s on %s and then on %s", p.Key, p.NodeA, p.NodeB),
			}
		},
		Trial: func(ctx context.Context, t *Trial) error { return jumpHolder(ctx, t, limit(t.Params)) },
	}
}

func jumpHolder(ctx context.Context, t *Trial, limit time.Duration) (err error) {
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	if err := a.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	t.step(fmt.Sprintf("1 acquire lock on A, step its clock by +%s", beyond(t.Params)))
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	skews := &skews{t: t}
	defer func() { err = errors.Join(err, skews.end(ctx)) }()
	if err := skews.client(ctx, a, Skew{Offset: beyond(t.Params), For: limit}); err != nil {
		return err
	}
	if _, err := a.believes(ctx); err != nil {
		return err
	}
	if _, _, err := a.look(ctx, true); err != nil {
		return err
	}
	if err := skews.end(ctx); err != nil {
		return err
	}
	if err := skews.client(ctx, a, Skew{Offset: -beyond(t.Params), For: limit}); err != nil {
		return err
	}
	err = t.overtake(ctx, a, b, leaseLimit(t.Params), "expire lease, acquire on B", "resume A, its clock is still behind", func() error { return nil })
	if err != nil {
		return err
	}
	t.step("5 does A notice that its lease is over?")
	if err := a.untilNoticed(ctx); err != nil {
		return err
	}
	if err := skews.end(ctx); err != nil {
		return err
	}
	a.release(ctx)
	b.release(ctx)
	return nil
}
