// Package redis locks with one Redis server, or with the one that Sentinels call the
// master, in the usual way: SET NX PX with a
// random value, and scripts that compare the value before they change anything.
//
// Such a lock has no fencing token by itself. The option fencing_counter adds one
// (INCR in the script that acquires), as some libraries do. The client does not
// renew by itself and does not notice a loss: neither do the libraries that it
// stands for.
package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// Driver is the redis backend.
type Driver struct{}

// Name implements locks.Driver.
func (Driver) Name() string { return "redis" }

// Open implements locks.Driver.
func (Driver) Open(ctx context.Context, t locks.Target) (locks.Client, error) {
	o, err := optionsOf(t)
	if err != nil {
		return nil, err
	}
	counter, err := o.counterName()
	if err != nil {
		return nil, err
	}
	rdb, err := connect(ctx, t, o)
	if err != nil {
		return nil, err
	}
	return &client{rdb: rdb, counter: counter, holds: map[string]string{}}, nil
}

type client struct {
	rdb     *redis.Client
	counter func(key string) string // nil without fencing
	close   sync.Once

	mu    sync.Mutex
	holds map[string]string // value by key, of the holds that this client was granted
}

// Capabilities implements locks.Client.
func (c *client) Capabilities() []locks.Capability {
	caps := []locks.Capability{locks.Renew, locks.OwnerCheck, locks.Observe, locks.Inspect}
	if c.counter != nil {
		caps = append(caps, locks.Fencing)
	}
	return caps
}

// acquireFenced mints the token before it sets the key: an INCR that fails (the
// counter is no number) must not leave a lock behind. The number is returned as a
// string because Lua's numbers lose precision above 2^53.
var acquireFenced = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return redis.call('GET', KEYS[2])`)

var releaseOwn = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)

var renewOwn = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

// Acquire implements locks.Client.
func (c *client) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (g locks.Grant, err error) {
	if key == "" || ttl < time.Millisecond {
		return locks.Grant{}, fmt.Errorf("acquire %q for %s: key must be set and ttl at least 1ms: %w", key, ttl, locks.ErrRefused)
	}
	err = locks.Retry(ctx, wait, func() error {
		g, err = c.attempt(ctx, key, ttl)
		return err
	})
	if err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	c.mu.Lock()
	c.holds[key] = g.Token.ID
	c.mu.Unlock()
	return g, nil
}

// attempt has a value of its own, so that a late success of an earlier one cannot
// be taken for this one's.
func (c *client) attempt(ctx context.Context, key string, ttl time.Duration) (locks.Grant, error) {
	var random [16]byte // 128 bits
	if _, err := rand.Read(random[:]); err != nil {
		return locks.Grant{}, fmt.Errorf("make random value: %w: %w", err, locks.ErrRefused)
	}
	g := locks.Grant{Key: key, Token: history.Token{ID: hex.EncodeToString(random[:])}, TTL: ttl.Truncate(time.Millisecond)}
	if c.counter == nil {
		_, err := Call(ctx, func() (string, error) {
			return c.rdb.SetArgs(ctx, key, g.Token.ID, redis.SetArgs{Mode: "NX", TTL: g.TTL}).Result()
		})
		return g, heldIfNil(err)
	}
	number, err := Call(ctx, func() (string, error) {
		return acquireFenced.Eval(ctx, c.rdb, []string{key, c.counter(key)}, g.Token.ID, g.TTL.Milliseconds()).Text()
	})
	if err != nil {
		return g, heldIfNil(err)
	}
	order, ok := new(big.Int).SetString(number, 10)
	if !ok {
		return g, fmt.Errorf("fencing counter is %q, not a number", number)
	}
	g.Token.Order = order
	return g, nil
}

func heldIfNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return locks.ErrHeld
	}
	return err
}

// owns reports whether this client was granted g and has not released it since.
func (c *client) owns(g locks.Grant) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return g.Token.ID != "" && c.holds[g.Key] == g.Token.ID
}

func (c *client) forget(g locks.Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[g.Key] == g.Token.ID {
		delete(c.holds, g.Key)
	}
}

// Renew implements locks.Client.
func (c *client) Renew(ctx context.Context, g locks.Grant) (time.Duration, error) {
	if !c.owns(g) {
		return 0, fmt.Errorf("renew %s: not held here: %w", g.Key, locks.ErrLost)
	}
	n, err := Call(ctx, func() (int, error) {
		return renewOwn.Eval(ctx, c.rdb, []string{g.Key}, g.Token.ID, g.TTL.Milliseconds()).Int()
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("renew %s: %w", g.Key, err)
	case n == 0:
		return 0, fmt.Errorf("renew %s: %w", g.Key, locks.ErrLost)
	}
	return g.TTL, nil
}

// Release implements locks.Client.
func (c *client) Release(ctx context.Context, g locks.Grant) error {
	if !c.owns(g) {
		return fmt.Errorf("release %s: not held here: %w", g.Key, locks.ErrLost)
	}
	n, err := Call(ctx, func() (int, error) {
		return releaseOwn.Eval(ctx, c.rdb, []string{g.Key}, g.Token.ID).Int()
	})
	if err != nil {
		return fmt.Errorf("release %s: %w", g.Key, err)
	}
	c.forget(g)
	if n == 0 {
		return fmt.Errorf("release %s: %w", g.Key, locks.ErrLost)
	}
	return nil
}

// Close implements locks.Client. What is held runs out by itself.
func (c *client) Close() error {
	var err error
	c.close.Do(func() { err = c.rdb.Close() })
	return err
}
