package locktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/lockaudit/lockaudit/locks"
)

func waiterGivesUp(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	z, err := b.open(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	g, err := x.Acquire(ctx, key, time.Minute, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	began := time.Now()
	_, err = y.Acquire(ctx, key, 30*time.Second, 300*time.Millisecond)
	if err := want("wait for a held lock", err, locks.ErrHeld); err != nil {
		return err
	}
	if took := time.Since(began); took > time.Minute {
		return fmt.Errorf("a wait of 300ms took %s", took)
	}
	if err := x.Release(ctx, g); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	// A queue entry left behind would hold the lock now, for 30 s.
	g, err = z.Acquire(ctx, key, b.ttl, 0)
	if err != nil {
		return fmt.Errorf("acquire after the waiter has gone: %w", err)
	}
	return z.Release(ctx, g)
}

func waiterGets(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	g, err := x.Acquire(ctx, key, time.Minute, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	released := make(chan error, 1)
	time.AfterFunc(300*time.Millisecond, func() { released <- x.Release(ctx, g) })
	began := time.Now()
	h, err := y.Acquire(ctx, key, b.ttl, 30*time.Second)
	if err != nil {
		return fmt.Errorf("wait for a lock that is released: %w", err)
	}
	if time.Since(began) < 250*time.Millisecond {
		return errors.New("the lock was granted before it was released")
	}
	return errors.Join(<-released, y.Release(ctx, h))
}

func closeTwice(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	if _, err := x.Acquire(ctx, key, time.Minute, 0); err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	if err := errors.Join(x.Close(), x.Close()); err != nil {
		return fmt.Errorf("close twice: %w", err)
	}
	if n, ok := x.(locks.Notifier); ok {
		for range n.Notices() { // must be closed
		}
	}
	if can(x, locks.SessionBound) {
		return nil // the close ends it; see boundToSession
	}
	_, err = y.Acquire(ctx, key, b.ttl, 0)
	return want("acquire after the holder's close", err, locks.ErrHeld)
}

// promptly fails a call that outlives its context by more than a cleanup may take.
func promptly(what string, call func() error) error {
	const limit = 40 * time.Second
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("%s did not return within %s of its context's end", what, limit)
	}
}

func cancelPrompt(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	g, err := x.Acquire(ctx, key, time.Minute, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	waiting, cancel := context.WithCancel(ctx)
	time.AfterFunc(200*time.Millisecond, cancel)
	err = promptly("a cancelled wait", func() error {
		if _, err := y.Acquire(waiting, key, b.ttl, 50*time.Second); err == nil {
			return errors.New("a cancelled wait got a held lock")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.server.Stop(); err != nil {
		return err
	}
	stopped, cancel := context.WithCancel(ctx)
	time.AfterFunc(200*time.Millisecond, cancel)
	err = promptly("a cancelled release", func() error {
		return indefinite("release while the server is stopped", x.Release(stopped, g))
	})
	return errors.Join(err, b.server.Resume())
}

// serverDies stops the server, so that the request is certainly under way when it
// is killed.
func serverDies(ctx context.Context, b *bench) error {
	x, err := b.open(ctx)
	if err != nil {
		return err
	}
	if err := b.server.Stop(); err != nil {
		return err
	}
	time.AfterFunc(300*time.Millisecond, b.server.Kill)
	callCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = x.Acquire(callCtx, b.key(), b.ttl, 0)
	return indefinite("acquire while the server dies", err)
}

func unreachable(ctx context.Context, b *bench) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close() // accepts and never answers, as a firewall's victim
	target := b.target
	target.Endpoints = []string{l.Addr().String()}
	began := time.Now()
	c, err := b.driver.Open(ctx, target)
	if err == nil {
		return errors.Join(errors.New("open succeeded at an endpoint that never answers"), c.Close())
	}
	if took := time.Since(began); took > time.Minute {
		return fmt.Errorf("it took %s to say that an endpoint does not answer", took)
	}
	return nil
}

func unknownOption(ctx context.Context, b *bench) error {
	target := b.target
	target.Options = json.RawMessage(`{"no_such_option": 1}`)
	c, err := b.driver.Open(ctx, target)
	if err == nil {
		return errors.Join(errors.New("open took an unknown option"), c.Close())
	}
	return want("open with an unknown option", err, locks.ErrRefused)
}

func inspected(ctx context.Context, b *bench) error {
	x, err := b.open(ctx)
	if err != nil {
		return err
	}
	if can(x, locks.Observe) {
		if err := observed(ctx, b, x); err != nil {
			return err
		}
	}
	if !can(x, locks.Inspect) {
		return nil
	}
	d, err := b.driver.Inspect(ctx, b.target)
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	if d.Backend == "" || d.Version == "" || len(d.Members) == 0 || d.Members[0].ID == "" {
		return fmt.Errorf("inspect found no version or no member: %+v", d)
	}
	if d.OrderedTokens == nil || *d.OrderedTokens != can(x, locks.Fencing) {
		return errors.New("inspect and the client's capabilities differ on ordered tokens")
	}
	return nil
}

func observed(ctx context.Context, b *bench, c locks.Client) error {
	o, ok := c.(locks.Observer)
	if !ok {
		return errors.New("the client declares observe and is no Observer")
	}
	key := b.key()
	free, err := o.Observe(ctx, key)
	if err != nil || free.Held {
		return fmt.Errorf("observe a free lock: %+v, %v", free, err)
	}
	const lease = 30 * time.Second
	g, err := c.Acquire(ctx, key, lease, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	held, err := o.Observe(ctx, key)
	leased := !can(c, locks.SessionBound)
	// A service that does not tell how long a lease is does not tell its rest either.
	silent := leased && held.Lease == 0 && held.Left == 0
	// The service may keep it for as long as was asked; a client may rely on less.
	if err != nil || !held.Held || held.ID != g.Token.ID || leased && !silent && (held.Left <= 0 || held.Left > max(lease, g.TTL)) || !leased && held.Left > g.TTL {
		return fmt.Errorf("observe a lock held with token %s: %+v, %v", g.Token.ID, held, err)
	}
	return c.Release(ctx, g)
}
