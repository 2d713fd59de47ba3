package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/locks"
)

// pauseHolderPastTTL is the five steps: the pause of a garbage collector, a VM
// migration or a swapping host that outlasts the lease.
//
// A writes once before it is paused: a resource that compares for equality with
// the row's first token would otherwise pass for one that fences. B writes before
// A is resumed: only then is A's token below the highest that was accepted.
func pauseHolderPastTTL() Probe {
	return Probe{
		Name:     "pause-holder-past-ttl",
		About:    "the five steps: acquire on A, pause A, expire and acquire on B, resume A, is A's stale write refused?",
		needs:    []need{aResource, keepsOff},
		MaxFault: observedLimit,
		Demands:  pausesHolder,
		Explain: func(p Params) []string {
			if p.Observe != nil {
				return explainObserved(p)
			}
			return []string{
				fmt.Sprintf("SIGSTOP of the audit's own lock client a on %s, for at most %s; it is resumed as soon as B has written", p.NodeA, leaseLimit(p)),
				fmt.Sprintf("acquire %s on %s, let its lease expire (%s), acquire it on %s", p.Key, p.NodeA, p.TTL, p.NodeB),
				fmt.Sprintf("writes of both clients to the row %s of the protected resource", p.Row("entry-N")),
			}
		},
		Trial: fiveSteps,
	}
}

func fiveSteps(ctx context.Context, t *Trial) error {
	if t.Observe != nil {
		return observedSteps(ctx, t)
	}
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	row := fmt.Sprintf("entry-%d", t.Number) // a fresh one: trials must not help each other
	// A grant that was waited for would not say when its lease began.
	if err := a.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	t.step("1 acquire lock on A")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	first := a.write(ctx, entry{row: row, value: "a-first", token: a.hold.Token})
	if err := definite("A's first write", first); err != nil {
		return err
	}
	err = t.overtake(ctx, a, b, leaseLimit(t.Params), "expire lease, acquire on B", "resume A", func() error {
		return definite("B's write", b.write(ctx, entry{row: row, value: "b", token: b.hold.Token}))
	})
	if err != nil {
		return err
	}
	t.step("5 A writes with its stale token")
	stale := a.write(ctx, entry{row: row, value: "a-stale", token: a.hold.Token})
	b.read(ctx, row)
	if err := errors.Join(a.untilNoticed(ctx), definite("A's stale write", stale)); err != nil {
		return err
	}
	a.release(ctx)
	b.release(ctx)
	return nil
}

// untilNoticed watches whether the client finds out by itself that its hold is
// over, for at most one lease after it was resumed: a client that renews at all
// has had to ask the service by then.
func (p *party) untilNoticed(ctx context.Context) error {
	if !p.proc.Can(string(locks.ObserveLoss)) {
		// It cannot; one look records what it still believes.
		_, err := p.believes(ctx)
		return err
	}
	p.t.Progress("waiting for A to notice", time.Now().Add(p.hold.TTL))
	noticed, err := poll(ctx, time.Now().Add(p.hold.TTL), func() (bool, error) { return p.noticedLoss(), nil })
	if err != nil || noticed {
		return err
	}
	_, err = p.believes(ctx)
	return err
}
