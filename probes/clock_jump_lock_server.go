package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// scanEvery is more than the time between two looks of a service for leases that are
// over: etcd's lessor does it every 500 ms, Redis on each access and ten times a second.
const scanEvery = 600 * time.Millisecond

// The directions of a jump, each a trial of its own; the case names it for judges.
const (
	caseAhead = "ahead"
	caseBack  = "back"
)

// clockJumpLockServer steps the wall clock of every lock server forward past the end
// of A's lease, as NTP, an administrator or a resumed virtual machine does: is the
// lock still A's? And back, while a dead A holds it: is it ever free?
func clockJumpLockServer() Probe {
	return Probe{
		Name:        "clock-jump-lock-server",
		About:       "the lock servers' wall clocks jump past the end of A's lease, and back: does the lock expire early, or never?",
		OnLockNodes: true,
		MaxFault:    leaseLimit,
		Demands:     func(p Params) []Demand { return serversWrong(p, leaseLimit(p)) },
		Trials:      func(Params, int) int { return 2 },
		Explain: func(p Params) []string {
			lines := explainServers(p, fmt.Sprintf("is %s ahead, and in the next trial %s behind", beyond(p), back(p)), leaseLimit(p))
			if p.noClocks() == "" {
				lines = append(lines, fmt.Sprintf("kill -9 of the audit's own lock client a on %s while the clocks are behind", p.NodeA))
			}
			return lines
		},
		Trial: func(ctx context.Context, t *Trial) error {
			if err := t.needClocks(); err != nil {
				return err
			}
			if t.Round%2 == 0 {
				return t.jumpBack(ctx)
			}
			return t.underSkew(ctx, caseAhead, fmt.Sprintf("2 step the lock servers' clocks by +%s", beyond(t.Params)),
				Skew{Offset: beyond(t.Params), For: skewLimit(t.Params)})
		},
	}
}

// underSkew has A acquire the lock, skews the clocks of all lock servers, watches
// whether the lease ends early, has B try to acquire, and puts the clocks right.
func (t *Trial) underSkew(ctx context.Context, kase, step string, s Skew) (err error) {
	if err := t.needClocks(); err != nil {
		return err
	}
	a, b, began, _, err := t.lend(ctx, kase)
	if err != nil {
		return err
	}
	t.step(step)
	skews := &skews{t: t}
	defer func() { err = errors.Join(err, skews.end(ctx)) }()
	if err := skews.servers(ctx, t.ClockNodes, s); err != nil {
		return err
	}
	skewed := time.Now()
	t.step("3 whose is the lock? B tries to acquire")
	early, err := a.untilEarly(ctx, began.Add(a.hold.TTL*4/5))
	if err != nil {
		return err
	}
	if watched := time.Since(skewed); !early && watched < scanEvery {
		return fmt.Errorf("%w: the lease could be watched for %s only, and a service may look for ended ones every %s", ErrPremise, watched.Round(time.Millisecond), scanEvery)
	}
	granted := b.tryAcquire(ctx, 0).Type == history.OK
	if err := t.readClocks(ctx); err != nil {
		return err
	}
	t.step("4 put the clocks right")
	if err := skews.end(ctx); err != nil {
		return err
	}
	a.release(ctx)
	if granted {
		b.release(ctx)
	}
	return nil
}

// lend has A acquire the lock at or after began, and has B ask for it too. A B that is
// granted it at once asks another service than A: shared is false then. The servers'
// clocks are read before, which may take a while. kase names the trial's variant.
func (t *Trial) lend(ctx context.Context, kase string) (a, b *party, began time.Time, shared bool, err error) {
	if a, b, err = t.pair(ctx); err != nil {
		return nil, nil, began, false, err
	}
	if err := a.untilFree(ctx, t.TTL); err != nil {
		return nil, nil, began, false, err
	}
	if err := t.readClocks(ctx); err != nil {
		return nil, nil, began, false, err
	}
	const step = "1 acquire lock on A, B is refused"
	t.record(history.Event{Actor: "probe", Op: history.OpStep, Type: history.Info, Step: step, Case: kase})
	t.Progress(step, time.Time{})
	began = time.Now()
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return nil, nil, began, false, err
	}
	r := b.tryAcquire(ctx, 0)
	if r.Type == history.OK {
		b.release(ctx)
		return a, b, began, false, nil
	}
	return a, b, began, true, definite("B is refused", r)
}

// untilEarly asks the service whether A's lease is over, until it is or until the
// given moment, at which it should still run. The first look and the last are kept.
func (p *party) untilEarly(ctx context.Context, end time.Time) (early bool, err error) {
	p.t.Progress("watching the lease", end)
	first := true
	early, err = poll(ctx, end, func() (bool, error) {
		held, _, err := p.look(ctx, first)
		first = false
		return !held, err
	})
	if err != nil || early {
		return early, err
	}
	held, _, err := p.look(ctx, true)
	return !held, err
}
