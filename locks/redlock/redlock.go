// Package redlock locks with a majority of independent Redis servers: the Redlock
// algorithm, by the library go-redsync as applications use it.
//
// A grant has no fencing token: its value is random, it says whose the hold is and
// not whose came later. The library does not renew by itself and tells nobody of a
// loss; what it has is the end of the hold by the client's own clock (Until). The
// option local_expiry is an application that heeds it.
package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
	pool "github.com/go-redsync/redsync/v4/redis"
	goredis9 "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	goredis "github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/redis"
)

// Driver is the redlock backend.
type Driver struct{}

// Name implements locks.Driver.
func (Driver) Name() string { return "redlock" }

// Open implements locks.Driver.
func (Driver) Open(ctx context.Context, t locks.Target) (locks.Client, error) {
	o, err := optionsOf(t)
	if err != nil {
		return nil, err
	}
	c := &client{options: o, holds: map[string]hold{}}
	if err := c.connect(ctx, t); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to redlock: %w", err), c.Close())
	}
	if !o.LocalExpiry {
		return c, nil
	}
	return newExpiring(c), nil
}

// client is one party. Each call uses a mutex of its own of the library's: they are
// not made for several calls at once.
type client struct {
	options options
	servers []*goredis.Client
	sync    *redsync.Redsync
	close   sync.Once

	mu    sync.Mutex
	holds map[string]hold // by key, of the holds that this client was granted
}

type hold struct {
	value string
	ttl   time.Duration // as asked: what an extension asks for again
	until time.Time     // the client's own end of it, by the monotonic clock
}

// Capabilities implements locks.Client.
func (c *client) Capabilities() []locks.Capability {
	return []locks.Capability{locks.Renew, locks.OwnerCheck, locks.Observe, locks.Inspect}
}

// laggards is how much longer than the first server to answer the others are given
// when the client is opened.
const laggards = 500 * time.Millisecond

// connect makes a client for every server and waits until they answer. Servers that do
// not are part of Redlock, as long as not all are silent; one that answers and refuses
// us is a mistake in the plan.
func (c *client) connect(ctx context.Context, t locks.Target) error {
	if len(t.Endpoints) == 0 {
		return fmt.Errorf("no endpoint: %w", locks.ErrRefused)
	}
	var pools []pool.Pool
	for _, e := range t.Endpoints {
		rdb, err := redis.NewClient(single(t, e))
		if err != nil {
			return err
		}
		c.servers = append(c.servers, rdb)
		pools = append(pools, goredis9.NewPool(rdb))
	}
	c.sync = redsync.New(pools...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(c.servers))
	for _, rdb := range c.servers {
		go func() {
			err := redis.Reach(ctx, rdb)
			if err != nil {
				err = fmt.Errorf("reach %s: %w", rdb.Options().Addr, err)
			}
			answers <- err
		}()
	}
	var errs []error
	var late <-chan time.Time
	for range c.servers {
		select {
		case err := <-answers:
			var answered goredis.Error
			switch {
			case errors.As(err, &answered):
				return err
			case err != nil:
				errs = append(errs, err)
			case late == nil:
				late = time.After(laggards)
			}
		case <-late:
			return nil
		}
	}
	if late == nil {
		return errors.Join(errs...)
	}
	return nil
}

// single is the target with one endpoint.
func single(t locks.Target, endpoint string) locks.Target {
	t.Endpoints = []string{strings.TrimSpace(endpoint)}
	return t
}

// own returns the hold that g names, if this client was granted it and has not released
// it since.
func (c *client) own(g locks.Grant) (hold, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.holds[g.Key]
	return h, ok && g.Token.ID != "" && h.value == g.Token.ID
}

func (c *client) keep(key string, h hold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds[key] = h
}

// renewed notes the later end of a hold, unless the client has given it up meanwhile.
func (c *client) renewed(g locks.Grant, h hold) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[g.Key].value != h.value {
		return false
	}
	c.holds[g.Key] = h
	return true
}

// forget ends what the client believes of g; it reports whether it did believe it.
func (c *client) forget(g locks.Grant) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[g.Key].value != g.Token.ID {
		return false
	}
	delete(c.holds, g.Key)
	return true
}

// Close implements locks.Client. What is held runs out by itself.
func (c *client) Close() error {
	var errs []error
	c.close.Do(func() {
		for _, rdb := range c.servers {
			errs = append(errs, rdb.Close())
		}
	})
	return errors.Join(errs...)
}
