package locktest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/locks"
)

func heldIsDefinite(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	g, err := x.Acquire(ctx, key, 30*time.Second, 0)
	if err != nil {
		return fmt.Errorf("acquire a free lock: %w", err)
	}
	_, err = y.Acquire(ctx, key, b.ttl, 0)
	if err := want("acquire a held lock", err, locks.ErrHeld); err != nil {
		return err
	}
	if err := x.Release(ctx, g); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	g, err = y.Acquire(ctx, key, b.ttl, 0)
	if err != nil {
		return fmt.Errorf("acquire a released lock: %w", err)
	}
	return y.Release(ctx, g)
}

func tokensUnique(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key, seen := b.key(), map[string]bool{}
	var last locks.Grant
	for i := range 20 {
		c := x
		if i%3 == 2 { // also twice in a row by one client
			c = y
		}
		g, err := c.Acquire(ctx, key, 30*time.Second, 0)
		if err != nil {
			return fmt.Errorf("acquire: %w", err)
		}
		if g.Token.ID == "" || seen[g.Token.ID] {
			return fmt.Errorf("grant %d: token %q is empty or was used before", i+1, g.Token.ID)
		}
		seen[g.Token.ID] = true
		if ordered := g.Token.Order != nil; ordered != can(c, locks.Fencing) {
			return fmt.Errorf("token has a number: %t, client declares fencing: %t", ordered, can(c, locks.Fencing))
		}
		if cmp, ok := g.Token.Compare(last.Token); ok && cmp <= 0 {
			return fmt.Errorf("grant %d: token %s is not above %s", i+1, g.Token, last.Token)
		}
		if err := c.Release(ctx, g); err != nil {
			return fmt.Errorf("release: %w", err)
		}
		last = g
	}
	return nil
}

// abandon lets a grant run out although its client would renew it.
func abandon(c locks.Client) error {
	if !can(c, locks.AutoRenew) {
		return nil
	}
	return c.Close()
}

func ttlHonoured(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	invoked := time.Now()
	g, err := x.Acquire(ctx, key, b.ttl, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	if can(x, locks.SessionBound) {
		return boundToSession(ctx, b, x, y, g)
	}
	if g.TTL < b.least || g.TTL > b.ttl+5*time.Second {
		return fmt.Errorf("granted TTL is %s, asked for %s", g.TTL, b.ttl)
	}
	if err := abandon(x); err != nil {
		return err
	}
	var taken time.Time
	err = until(ctx, "acquire after expiry", g.TTL+2*time.Minute, func() (bool, error) {
		_, err := y.Acquire(ctx, key, b.ttl, 0)
		taken = time.Now()
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if held := taken.Sub(invoked); held < g.TTL {
		return fmt.Errorf("the lock was granted again %s after it was granted for %s", held, g.TTL)
	}
	return nil
}

// boundToSession: a hold without a lease outlasts the one that was asked for, and not
// its client.
func boundToSession(ctx context.Context, b *bench, x, y locks.Client, g locks.Grant) error {
	if g.TTL != 0 {
		return fmt.Errorf("granted TTL is %s, and the client declares that there is no lease", g.TTL)
	}
	for end := time.Now().Add(b.ttl + b.ttl/2); time.Now().Before(end); {
		if _, err := y.Acquire(ctx, g.Key, b.ttl, b.ttl/4); !errors.Is(err, locks.ErrHeld) {
			return fmt.Errorf("acquire a lock that is held without a lease: got %v, want held", err)
		}
	}
	if err := x.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return until(ctx, "acquire after the holder's close", 20*time.Second, func() (bool, error) {
		_, err := y.Acquire(ctx, g.Key, b.ttl, 0)
		return err == nil, err
	})
}

// errLate: this machine stood still for longer than a lease, so that nothing was shown.
var errLate = errors.New("no renewal came in time")

func renewExtends(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil || !can(x, locks.Renew) {
		return err
	}
	for range 10 {
		if err = renewOften(ctx, b, x, y); !errors.Is(err, errLate) {
			break
		}
	}
	return err
}

func renewOften(ctx context.Context, b *bench, x, y locks.Client) error {
	key, last := b.key(), time.Now()
	g, err := x.Acquire(ctx, key, b.ttl, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	for end := time.Now().Add(2*g.TTL + g.TTL/2); time.Now().Before(end); {
		sent := time.Now()
		ttl, err := x.Renew(ctx, g)
		if errors.Is(err, locks.ErrLost) && time.Since(last) >= g.TTL {
			return errLate
		}
		if err != nil {
			return fmt.Errorf("renew: %w", err)
		}
		last = sent
		if ttl < b.least {
			return fmt.Errorf("renewed for %s, granted for %s", ttl, g.TTL)
		}
		if _, err := y.Acquire(ctx, key, b.ttl, 0); !errors.Is(err, locks.ErrHeld) && time.Since(sent) < ttl {
			return fmt.Errorf("acquire a renewed lock: got %v, want held", err)
		}
		wait := time.NewTimer(g.TTL / 4)
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := x.Release(ctx, g); errors.Is(err, locks.ErrLost) && time.Since(last) >= g.TTL {
		return errLate
	} else if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	_, err = x.Renew(ctx, g)
	return want("renew after release", err, locks.ErrLost)
}

func foreignRelease(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	g, err := x.Acquire(ctx, key, 30*time.Second, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	stranger := g
	stranger.Token.ID += "0"
	for _, foreign := range []locks.Grant{g, stranger, {Key: key}} {
		if err := want("foreign release", y.Release(ctx, foreign), locks.ErrLost); err != nil {
			return err
		}
	}
	if _, err := y.Acquire(ctx, key, b.ttl, 0); !errors.Is(err, locks.ErrHeld) {
		return fmt.Errorf("a foreign release freed the lock: acquire gave %v", err)
	}
	return x.Release(ctx, g)
}

func afterExpiry(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	g, err := x.Acquire(ctx, key, b.ttl, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	if can(x, locks.AutoRenew) || can(x, locks.SessionBound) {
		// Such a hold ends only when its client cannot reach anybody.
		if err := b.outage(ctx, x, g); err != nil {
			return err
		}
	}
	var h locks.Grant
	err = until(ctx, "acquire after expiry", 2*time.Minute, func() (bool, error) {
		var err error
		h, err = y.Acquire(ctx, key, 30*time.Second, 0)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if err := want("release after expiry", x.Release(ctx, g), locks.ErrLost); err != nil {
		return err
	}
	if _, err := x.Acquire(ctx, key, b.ttl, 0); !errors.Is(err, locks.ErrHeld) {
		return fmt.Errorf("a release after expiry freed the next hold: acquire gave %v", err)
	}
	if err := y.Release(ctx, h); err != nil {
		return fmt.Errorf("release of the next hold: %w", err)
	}
	return nil
}

// outage stops the server until the client has noticed that its lease is over. A
// stopped server's lease clock runs on, and it expires the lease when it goes on.
func (b *bench) outage(ctx context.Context, c locks.Client, g locks.Grant) error {
	if err := b.server.Stop(); err != nil {
		return err
	}
	err := awaitLost(ctx, c, g.Key)
	return errors.Join(err, b.server.Resume())
}

// lostLimit is how long a client may take to notice that it cannot renew.
const lostLimit = 2 * time.Minute

func awaitLost(ctx context.Context, c locks.Client, key string) error {
	n, ok := c.(locks.Notifier)
	if !ok {
		return errors.New("the client declares observe-loss and is no Notifier")
	}
	limit := time.NewTimer(lostLimit)
	defer limit.Stop()
	for {
		select {
		case notice, open := <-n.Notices():
			if !open {
				return errors.New("notices ended without a loss")
			}
			if notice.Kind == locks.Lost && notice.Key == key {
				return nil
			}
		case <-limit.C:
			return fmt.Errorf("no loss noticed within %s", lostLimit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func lossNoticed(ctx context.Context, b *bench) error {
	x, err := b.open(ctx)
	if err != nil {
		return err
	}
	if !can(x, locks.ObserveLoss) {
		if n, ok := x.(locks.Notifier); ok && !can(x, locks.AutoRenew) {
			return fmt.Errorf("the client is a Notifier (%T) but declares neither auto-renew nor observe-loss", n)
		}
		return nil
	}
	g, err := x.Acquire(ctx, b.key(), b.ttl, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	if can(x, locks.AutoRenew) {
		// A hold that is renewed is not lost: a renewal first, then the outage.
		n := x.(locks.Notifier)
		select {
		case notice := <-n.Notices():
			if notice.Kind != locks.Renewed || notice.TTL <= 0 || notice.Since.IsZero() || time.Since(notice.Since) < 0 {
				return fmt.Errorf("first notice is %+v, want a renewal with TTL and Since", notice)
			}
		case <-time.After(lostLimit):
			return errors.New("a client with auto-renew tells of no renewal")
		}
	}
	if err := b.outage(ctx, x, g); err != nil {
		return err
	}
	return want("release after the loss", x.Release(ctx, g), locks.ErrLost)
}
