package redlock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-redsync/redsync/v4"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/redis"
)

// mutex is one of the library's for one call about one hold.
func (c *client) mutex(key string, h hold) *redsync.Mutex {
	return c.sync.NewMutex(key, redsync.WithExpiry(h.ttl), redsync.WithValue(h.value),
		redsync.WithGenValueFunc(func() (string, error) { return h.value, nil }),
		redsync.WithDriftFactor(c.options.drift()), redsync.WithFailFast(c.options.FailFast),
		redsync.WithTimeoutFactor(float64(c.options.nodeTimeout(h.ttl))/float64(h.ttl)))
}

// Acquire implements locks.Client.
func (c *client) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (g locks.Grant, err error) {
	ttl = ttl.Truncate(time.Millisecond)
	if key == "" || ttl < time.Millisecond {
		return locks.Grant{}, fmt.Errorf("acquire %q for %s: key must be set and ttl at least 1ms: %w", key, ttl, locks.ErrRefused)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tries := 0
	err = locks.Retry(ctx, wait, func() error {
		tries++
		g, err = c.attempt(ctx, key, ttl)
		if tries == c.options.Tries {
			cancel() // the latest attempt decides
		}
		return err
	})
	if err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	return g, nil
}

// The library's calls that hold no limit of their own are given the acquire's: the node
// timeout. Their answer is awaited beyond it, for the votes of those that came in time.

// attempt has a value of its own, so that a late success of an earlier one cannot be
// taken for this one's. The library keeps one value for all tries of a Lock.
func (c *client) attempt(ctx context.Context, key string, ttl time.Duration) (locks.Grant, error) {
	var random [16]byte // 128 bits, as the library's
	if _, err := rand.Read(random[:]); err != nil {
		return locks.Grant{}, fmt.Errorf("make random value: %w: %w", err, locks.ErrRefused)
	}
	valid := c.options.validity(ttl)
	h := hold{value: hex.EncodeToString(random[:]), ttl: ttl, until: time.Now().Add(valid)}
	m := c.mutex(key, h)
	_, err := redis.Call(ctx, func() (struct{}, error) { return struct{}{}, m.TryLockContext(ctx) })
	if err != nil {
		return locks.Grant{}, c.verdict(err, locks.ErrHeld)
	}
	c.keep(key, h)
	return locks.Grant{Key: key, Token: history.Token{ID: h.value}, TTL: valid}, nil
}

// Renew implements locks.Client by Extend: the lease is as long again, at a majority of
// those servers that still have it.
func (c *client) Renew(ctx context.Context, g locks.Grant) (time.Duration, error) {
	h, ok := c.own(g)
	if !ok {
		return 0, fmt.Errorf("renew %s: not held here: %w", g.Key, locks.ErrLost)
	}
	limited, cancel := context.WithTimeout(ctx, c.options.nodeTimeout(h.ttl))
	defer cancel()
	m, valid := c.mutex(g.Key, h), c.options.validity(h.ttl)
	h.until = time.Now().Add(valid)
	if _, err := redis.Call(ctx, func() (bool, error) { return m.ExtendContext(limited) }); err != nil {
		return 0, fmt.Errorf("renew %s: %w", g.Key, c.verdict(err, locks.ErrLost))
	}
	if !c.renewed(g, h) {
		return 0, fmt.Errorf("renew %s: it ended here meanwhile: %w", g.Key, locks.ErrLost)
	}
	return valid, nil
}

// Release implements locks.Client. It is ok only where a majority still had the value:
// the lock was held until then.
func (c *client) Release(ctx context.Context, g locks.Grant) error {
	h, ok := c.own(g)
	if !ok {
		return fmt.Errorf("release %s: not held here: %w", g.Key, locks.ErrLost)
	}
	limited, cancel := context.WithTimeout(ctx, c.options.nodeTimeout(h.ttl))
	defer cancel()
	m := c.mutex(g.Key, h)
	_, err := redis.Call(ctx, func() (bool, error) { return m.UnlockContext(limited) })
	if err != nil {
		if err = c.verdict(err, locks.ErrLost); !isDefinite(err) {
			return fmt.Errorf("release %s: %w", g.Key, err)
		}
	}
	c.forget(g)
	if err != nil {
		return fmt.Errorf("release %s: %w", g.Key, err)
	}
	return nil
}
