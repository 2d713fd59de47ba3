package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

const (
	contendAttempts = 3
	contendWait     = 200 * time.Millisecond
)

// contend makes B fail to get a lock that A holds: at once, and after waiting.
// How that is told to the caller is the record, and what the metrics and the log
// of the plan's signals show of it: first during a window in which A and B
// acquire and nobody is refused, then during one in which B is.
func contend() Probe {
	return Probe{
		Name:  "contend",
		About: "B tries to acquire while A holds: is the failure definite, and visible in metrics and log?",
		Explain: func(p Params) []string {
			out := []string{
				fmt.Sprintf("acquire %s on %s, and try it %d times on %s while it is held", p.Key, p.NodeA, contendAttempts+1, p.NodeB),
			}
			for _, address := range p.Metrics {
				out = append(out, fmt.Sprintf("read %s from a client node, every %s for twice %s", redacted(address), signalEvery, signalWindow))
			}
			if p.LogFile != "" {
				out = append(out, fmt.Sprintf("read the new lines of %s during that time", p.LogFile))
			}
			return out
		},
		Trial: func(ctx context.Context, t *Trial) error {
			a, b, err := t.pair(ctx)
			if err != nil {
				return err
			}
			if err := t.refuseB(ctx, a, b); err != nil {
				return err
			}
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

// refuseB lets A acquire and B try, watched where the plan names signals.
func (t *Trial) refuseB(ctx context.Context, a, b *party) error {
	sources := t.sources()
	if len(sources) == 0 {
		t.step("1 acquire lock on A")
		if err := a.acquire(ctx, t.fresh()); err != nil {
			return err
		}
		t.step("2 B tries while A holds")
		b.tryInVain(ctx, func() {})
		return nil
	}
	t.step("0 acquire and release on A and on B, so that both have told what they tell once")
	for _, p := range []*party{a, b} {
		if err := p.acquire(ctx, t.fresh()); err != nil {
			return err
		}
		p.release(ctx)
	}
	for _, s := range sources {
		s.moved = map[string]time.Duration{}
		s.look(ctx, 0)
	}
	t.step("1 acquire and release on B as often as it will try, acquire lock on A; nobody is refused")
	failed, began := make(chan error, 1), time.Now()
	err := t.watch(ctx, sources, history.PhaseQuiet, func(func()) int {
		failed <- turns(ctx, a, b)
		return 0
	})
	if acquired := <-failed; acquired != nil {
		return acquired
	}
	if err != nil {
		return err
	}
	quiet := time.Since(began)
	t.step("2 B tries while A holds")
	began, refusals := time.Now(), 0
	err = t.watch(ctx, sources, history.PhaseRefused, func(refused func()) int {
		refusals = b.tryInVain(ctx, refused)
		return refusals
	})
	if err != nil {
		return err
	}
	return comparable(sources, quiet, time.Since(began), refusals)
}

// comparable fails with ErrPremise if the two windows cannot be told apart by what
// moved in them: the machine stood still in one, or a log was rotated just then.
func comparable(sources []*source, quiet, refused time.Duration, refusals int) error {
	for _, s := range sources {
		if errors.Is(s.err, ErrRotated) {
			return fmt.Errorf("%w: %w", ErrPremise, s.err)
		}
	}
	switch {
	case refusals == 0:
		return fmt.Errorf("%w: B was not refused", ErrPremise)
	case 2*quiet < refused:
		return fmt.Errorf("%w: the window without refusals lasted %s and the one with them %s", ErrPremise, quiet.Round(time.Millisecond), refused.Round(time.Millisecond))
	}
	return nil
}

// turns leaves the lock with A, after B had it as often as it will be refused:
// what moves with every attempt moves now.
func turns(ctx context.Context, a, b *party) error {
	for range contendAttempts + 1 {
		if err := b.acquire(ctx, b.t.fresh()); err != nil {
			return err
		}
		b.release(ctx)
	}
	return a.acquire(ctx, a.t.fresh())
}

// tryInVain tries to acquire what somebody else holds, and counts the refusals.
func (p *party) tryInVain(ctx context.Context, refused func()) int {
	n := 0
	for i := range contendAttempts + 1 {
		wait := time.Duration(0)
		if i == contendAttempts {
			wait = contendWait
		}
		if p.tryAcquire(ctx, wait).Type == history.Fail {
			n++
			refused()
		}
	}
	return n
}

// fresh is how long to wait for the audit's own key: what an earlier trial left
// held ends with its lease.
func (t *Trial) fresh() time.Duration { return t.TTL + leaseSlack(t.TTL) }
