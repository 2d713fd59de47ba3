package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// known are the words that a client may promise.
func known() []locks.Capability {
	return []locks.Capability{
		locks.Fencing, locks.Renew, locks.AutoRenew, locks.ObserveLoss, locks.OwnerCheck, locks.Observe, locks.SessionBound, locks.Inspect,
	}
}

func introduced(ctx context.Context, b *bench) error {
	p, r, err := b.open(ctx, b.o.Target, nil)
	if err != nil {
		return err
	}
	if err := expect("init", r, "ok"); err != nil {
		return err
	}
	b.a, b.name, b.caps = p, r.Answer.Name, r.Answer.Capabilities
	for _, c := range b.caps {
		if !slices.Contains(known(), c) {
			return fmt.Errorf("init: the capability %q is none of %v", c, known())
		}
	}
	return nil
}

func otherVersion(ctx context.Context, b *bench) error {
	p, err := b.start(ctx)
	if err != nil {
		return err
	}
	t := b.o.Target
	return expect("init of version 999", p.do(ctx, clients.Request{Op: clients.OpInit, Version: 999, Node: "check", Lock: &t}), "fail")
}

func grants(ctx context.Context, b *bench) error {
	x, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, b.ttl(), 0)
	if err != nil {
		return err
	}
	switch {
	case r.Answer.TTLms == 0 && !b.can(locks.SessionBound):
		return fmt.Errorf("ok to acquire has no ttl_ms, and the client does not promise session-bound")
	case r.Answer.TTLms != 0 && b.can(locks.SessionBound):
		return fmt.Errorf("ok to acquire has ttl_ms %d, and the client promises session-bound: that there is no lease", r.Answer.TTLms)
	}
	return expect("release", x.release(ctx, key, r.Answer.Token), "ok")
}

func held(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return err
	}
	if err := stillHeld(ctx, y, key, "of a held lock"); err != nil {
		return err
	}
	return expect("release", x.release(ctx, key, r.Answer.Token), "ok")
}

func believes(ctx context.Context, b *bench) error {
	x, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	want := func(when string, want bool) error {
		got, err := x.holding(ctx, key)
		if err == nil && got != want {
			err = fmt.Errorf("status %s says holding %t", when, got)
		}
		return err
	}
	if err := want("before an acquire", false); err != nil {
		return err
	}
	r, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return err
	}
	if err := want("after a grant", true); err != nil {
		return err
	}
	if err := expect("release", x.release(ctx, key, r.Answer.Token), "ok"); err != nil {
		return err
	}
	return want("after the release", false)
}

// overlaps: while an acquire waits, a status is answered.
func overlaps(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return err
	}
	waiting := make(chan clients.Reply, 1)
	go func() { waiting <- y.acquire(ctx, key, long, 4*limit) }()
	// Again and again, because the first one may be sent before the acquire. A client that
	// does one thing at a time answers none of the others before the wait is over.
	for began := y.now(); err == nil && y.now()-began < time.Second/2; {
		_, err = y.holding(ctx, key)
	}
	if released := expect("release", x.release(ctx, key, r.Answer.Token), "ok"); err == nil {
		err = released
	}
	w := <-waiting
	if w.Type == history.OK {
		y.release(ctx, key, w.Answer.Token)
	}
	return err
}

func waiterGets(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return err
	}
	waiting := make(chan clients.Reply, 1)
	go func() { waiting <- y.acquire(ctx, key, long, 2*limit) }()
	select { // the attempt that it begins with is refused meanwhile
	case w := <-waiting:
		return fmt.Errorf("acquire that should wait %s for a held lock: answered %s%s at once", 2*limit, said(w), because(w))
	case <-time.After(300 * time.Millisecond):
	}
	if err := expect("release", x.release(ctx, key, r.Answer.Token), "ok"); err != nil {
		return err
	}
	w := <-waiting
	if err := expect("acquire that waits while the lock is released", w, "ok"); err != nil {
		return err
	}
	return expect("release", y.release(ctx, key, w.Answer.Token), "ok")
}

// waiterEnds cancels one wait and lets another run out. What either leaves at the
// service would get the lock when it is released.
func waiterEnds(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return err
	}
	if err := expect("acquire that waits 300ms for a held lock", y.acquire(ctx, key, long, 300*time.Millisecond), "fail held"); err != nil {
		return err
	}
	// One that is given up is cancelled by the protocol's own end, which ignores what is
	// answered late; that a cancel is answered at all is asked of one that comes too late.
	giveUp, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	y.conn.Do(giveUp, clients.Request{Op: clients.OpAcquire, Key: key, TTLms: long.Milliseconds(), WaitMs: (6 * limit).Milliseconds()})
	cancel()
	if err := expect("cancel of a request that is over", y.do(ctx, clients.Request{Op: clients.OpCancel, Target: 1}), "ok"); err != nil {
		return err
	}
	if err := expect("release", x.release(ctx, key, r.Answer.Token), "ok"); err != nil {
		return err
	}
	// Whoever still waits has it now, or will have it in a moment.
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	again, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return fmt.Errorf("a second after the last waiter was cancelled: %w", err)
	}
	return expect("release", x.release(ctx, key, again.Answer.Token), "ok")
}

func unknownOp(ctx context.Context, b *bench) error {
	x, _, err := b.pair(ctx)
	if err != nil {
		return err
	}
	return expect(`the op "juggle"`, x.do(ctx, clients.Request{Op: "juggle"}), "fail refused")
}

// leaves: the hold of a client that is gone is left to its lease.
func leaves(ctx context.Context, b *bench) error {
	x, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	_, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	if _, err := acquire(ctx, x, key, long, 0); err != nil {
		return err
	}
	if err := x.conn.Close(); err != nil {
		return fmt.Errorf("close its input: %w", err)
	}
	select {
	case <-x.gone:
	case <-time.After(limit):
		return fmt.Errorf("the process still runs %s after the end of its input", limit)
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.can(locks.SessionBound) {
		return nil // the hold was its connection
	}
	return stillHeld(ctx, y, key, "after the holder has left")
}
