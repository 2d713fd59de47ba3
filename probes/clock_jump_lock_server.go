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

// clockJumpLockServer steps the wall clock of every lock server forward past the end
// of A's lease, as NTP, an administrator or a resumed virtual machine does: is the
// lock still A's?
func clockJumpLockServer() Probe {
	return Probe{
		Name:        "clock-jump-lock-server",
		About:       "the lock servers' wall clocks jump past the end of A's lease: does the lock expire early?",
		OnLockNodes: true,
		MaxFault:    skewLimit,
		Demands:     serversWrong,
		Trials:      once,
		Explain:     func(p Params) []string { return explainServers(p, "is "+beyond(p).String()+" ahead") },
		Trial: func(ctx context.Context, t *Trial) error {
			return t.underSkew(ctx, fmt.Sprintf("2 step the lock servers' clocks by +%s", beyond(t.Params)),
				Skew{Offset: beyond(t.Params), For: skewLimit(t.Params)})
		},
	}
}

// underSkew has A acquire the lock, skews the clocks of all lock servers, watches
// whether the lease ends early, has B try to acquire, and puts the clocks right.
func (t *Trial) underSkew(ctx context.Context, step string, s Skew) (err error) {
	if err := t.needClocks(); err != nil {
		return err
	}
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	if err := a.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	// Before the lease begins: reading may take a while.
	if err := t.readClocks(ctx); err != nil {
		return err
	}
	t.step("1 acquire lock on A, B is refused")
	began := time.Now()
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	// A B that is granted it at once asks another service than A, and its later grant
	// would not be the clock's doing.
	if r := b.tryAcquire(ctx, 0); r.Type == history.OK {
		b.release(ctx)
	} else if err := definite("B is refused", r); err != nil {
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
