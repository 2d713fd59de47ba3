package locktest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redis"
)

// broken is a real driver with one method replaced.
type broken struct {
	locks.Driver
	acquire func(ctx context.Context, c locks.Client, key string, ttl, wait time.Duration) (locks.Grant, error)
	renew   func(ctx context.Context, c locks.Client, g locks.Grant) (time.Duration, error)
	release func(ctx context.Context, c locks.Client, g locks.Grant) error
	caps    []locks.Capability
	close   func(c locks.Client) error
	open    func(d locks.Driver, ctx context.Context, t locks.Target) (locks.Client, error)
	inspect func(d *facts.Deployment)
}

type brokenClient struct {
	locks.Client
	by broken
}

func (b broken) Open(ctx context.Context, t locks.Target) (locks.Client, error) {
	if b.open != nil {
		return b.open(b.Driver, ctx, t)
	}
	c, err := b.Driver.Open(ctx, t)
	if err != nil {
		return nil, err
	}
	return brokenClient{c, b}, nil
}

func (b broken) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	d, err := b.Driver.Inspect(ctx, t)
	if b.inspect != nil {
		b.inspect(&d)
	}
	return d, err
}

func (c brokenClient) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (locks.Grant, error) {
	if c.by.acquire != nil {
		return c.by.acquire(ctx, c.Client, key, ttl, wait)
	}
	return c.Client.Acquire(ctx, key, ttl, wait)
}

func (c brokenClient) Renew(ctx context.Context, g locks.Grant) (time.Duration, error) {
	if c.by.renew != nil {
		return c.by.renew(ctx, c.Client, g)
	}
	return c.Client.Renew(ctx, g)
}

func (c brokenClient) Release(ctx context.Context, g locks.Grant) error {
	if c.by.release != nil {
		return c.by.release(ctx, c.Client, g)
	}
	return c.Client.Release(ctx, g)
}

func (c brokenClient) Capabilities() []locks.Capability {
	return append(c.Client.Capabilities(), c.by.caps...)
}

func (c brokenClient) Close() error {
	if c.by.close != nil {
		return c.by.close(c.Client)
	}
	return c.Client.Close()
}

func (c brokenClient) Observe(ctx context.Context, key string) (history.Holder, error) {
	return c.Client.(locks.Observer).Observe(ctx, key)
}

// free grants whatever it is asked for.
func free(_ context.Context, _ locks.Client, key string, ttl, _ time.Duration) (locks.Grant, error) {
	return locks.Grant{Key: key, TTL: ttl, Token: history.Token{ID: fmt.Sprint(time.Now().UnixNano())}}, nil
}

func noRelease(context.Context, locks.Client, locks.Grant) error { return nil }

// noLock grants everybody; it runs in the processes of the contest too.
var noLock = broken{Driver: redis.Driver{}, acquire: free, release: noRelease}

func TestMain(m *testing.M) {
	if servers.Child() || locktest.Child(noLock) {
		return
	}
	os.Exit(m.Run())
}

func start(tb testing.TB) (locks.Target, locktest.Server) {
	s := servers.StartRedis(tb)
	return locks.Target{Backend: "redis", Endpoints: []string{s.Endpoint}}, s
}

// TestSuiteFailsBrokenDrivers: a suite that passes everybody is worth nothing.
func TestSuiteFailsBrokenDrivers(t *testing.T) {
	real := redis.Driver{}
	for _, c := range []struct {
		check  string
		driver broken
		says   string
	}{
		{"held is definite", broken{acquire: free}, "acquire a held lock"},
		{"a token identifies one grant", broken{release: noRelease, acquire: func(_ context.Context, _ locks.Client, key string, ttl, _ time.Duration) (locks.Grant, error) {
			return locks.Grant{Key: key, TTL: ttl, Token: history.Token{ID: "same"}}, nil
		}}, "was used before"},
		{"a token identifies one grant", broken{caps: []locks.Capability{locks.Fencing}}, "declares fencing"},
		{"granted TTL is reported and honoured", broken{acquire: func(ctx context.Context, c locks.Client, key string, ttl, wait time.Duration) (locks.Grant, error) {
			g, err := c.Acquire(ctx, key, ttl/3, wait)
			g.TTL = ttl
			return g, err
		}}, "was granted again"},
		{"granted TTL is reported and honoured", broken{acquire: func(ctx context.Context, c locks.Client, key string, ttl, wait time.Duration) (locks.Grant, error) {
			g, err := c.Acquire(ctx, key, ttl, wait)
			g.TTL = 0
			return g, err
		}}, "granted TTL is"},
		{"granted TTL is reported and honoured", broken{caps: []locks.Capability{locks.SessionBound}}, "declares that there is no lease"},
		{"granted TTL is reported and honoured", broken{caps: []locks.Capability{locks.SessionBound}, acquire: func(ctx context.Context, c locks.Client, key string, ttl, wait time.Duration) (locks.Grant, error) {
			g, err := c.Acquire(ctx, key, ttl, wait) // it has a lease all the same
			g.TTL = 0
			return g, err
		}}, "held without a lease"},
		{"granted TTL is reported and honoured", broken{caps: []locks.Capability{locks.SessionBound}, acquire: func(ctx context.Context, c locks.Client, key string, _, wait time.Duration) (locks.Grant, error) {
			g, err := c.Acquire(ctx, key, time.Hour, wait) // and outlives its client
			g.TTL = 0
			return g, err
		}}, "after the holder's close"},
		{"renew extends the lease", broken{renew: func(_ context.Context, _ locks.Client, g locks.Grant) (time.Duration, error) {
			return g.TTL, nil
		}}, "acquire a renewed lock"},
		{"a foreign release is refused", broken{release: noRelease}, "foreign release"},
		{"after expiry the hold is over", broken{release: noRelease}, "release after expiry"},
		{"loss is noticed or honestly not noticeable", broken{caps: []locks.Capability{locks.ObserveLoss}}, "is no Notifier"},
		{"a waiter that gives up leaves nothing behind", broken{acquire: func(ctx context.Context, c locks.Client, key string, ttl, wait time.Duration) (locks.Grant, error) {
			if wait > 0 { // stays in the queue
				go func() { _, _ = c.Acquire(context.WithoutCancel(ctx), key, ttl, 10*time.Second) }()
				time.Sleep(wait)
				return locks.Grant{}, locks.ErrHeld
			}
			g, err := c.Acquire(ctx, key, ttl, 0)
			return g, err
		}, release: func(ctx context.Context, c locks.Client, g locks.Grant) error {
			err := c.Release(ctx, g)
			time.Sleep(500 * time.Millisecond) // for the one in the queue
			return err
		}}, "after the waiter has gone"},
		{"a waiter gets the lock when it is released", broken{acquire: func(ctx context.Context, c locks.Client, key string, ttl, _ time.Duration) (locks.Grant, error) {
			return c.Acquire(ctx, key, ttl, 0)
		}}, "wait for a lock that is released"},
		{"close does not release and may be repeated", broken{close: func(c locks.Client) error { return nil }, acquire: free}, "after the holder's close"},
		{"a cancelled call returns soon", broken{release: noRelease}, "succeeded"},
		{"a server that dies in mid-acquire leaves it open", broken{acquire: func(ctx context.Context, c locks.Client, key string, ttl, wait time.Duration) (locks.Grant, error) {
			g, err := c.Acquire(ctx, key, ttl, wait)
			if err != nil {
				err = locks.ErrHeld
			}
			return g, err
		}}, "claims to know"},
		{"an unreachable endpoint is an error", broken{open: func(locks.Driver, context.Context, locks.Target) (locks.Client, error) {
			return brokenClient{Client: nullClient{}}, nil
		}}, "open succeeded"},
		{"an unknown option is refused", broken{open: func(d locks.Driver, ctx context.Context, t locks.Target) (locks.Client, error) {
			t.Options = nil
			return d.Open(ctx, t)
		}}, "took an unknown option"},
		{"the deployment is described", broken{inspect: func(d *facts.Deployment) { d.Version = "" }}, "found no version"},
		{"mutual exclusion among processes", noLock, "two holds at one time"},
	} {
		t.Run(c.check+": "+c.says, func(t *testing.T) {
			t.Parallel()
			c.driver.Driver = real
			err := check(t, c.check).Try(t, locktest.Subject{Driver: c.driver, Start: start})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the check says %v, want an error with %q", err, c.says)
			}
		})
	}
}

func TestEveryCheckHasABrokenDriver(t *testing.T) {
	source, err := os.ReadFile("locktest_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range locktest.Checks() {
		name, err := json.Marshal(c.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(source), "{"+string(name)+", ") {
			t.Errorf("no broken driver for the check %q", c.Name)
		}
	}
}

func check(t *testing.T, name string) locktest.Check {
	for _, c := range locktest.Checks() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %q", name)
	return locktest.Check{}
}

// nullClient is what a driver returns that never connects.
type nullClient struct{ locks.Client }

func (nullClient) Close() error { return nil }
