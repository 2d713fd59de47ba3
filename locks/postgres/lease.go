package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// leases is a client of a lease table. It does not renew by itself and does not
// notice a loss: neither do the libraries that it stands for.
type leases struct {
	pool    *pgxpool.Pool
	sql     statements
	watch   *watched // the application's own table; nil: none
	user    string
	owned   bool // there is a table for the audit's own leases
	fencing bool // tokens are ordered
	close   sync.Once

	mu    sync.Mutex
	holds map[string]history.Token // by key, of the holds that this client was granted
}

func openLeases(ctx context.Context, config *pgx.ConnConfig, o options) (locks.Client, error) {
	conn, err := dial(ctx, config)
	if err != nil {
		return nil, err
	}
	table, err := prepare(ctx, conn, o)
	owned := err == nil
	if o.Watch != nil && errors.Is(err, errNoTable) {
		err = nil // there is something to look at, and an acquire will say it
	}
	err = errors.Join(err, hangUp(conn))
	if err != nil {
		return nil, err
	}
	pooled, err := pgxpool.ParseConfig("host=localhost password=none sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: read environment: %w: %w", err, locks.ErrRefused)
	}
	pooled.ConnConfig = config
	pooled.PingTimeout = reachLimit
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), pooled)
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	return &leases{pool: pool, sql: statementsOf(o), watch: o.Watch, user: config.User, owned: owned, fencing: table.ordered(), holds: map[string]history.Token{}}, nil
}

// Capabilities implements locks.Client.
func (c *leases) Capabilities() []locks.Capability {
	caps := append(inspectCapabilities(), locks.Renew)
	if c.fencing {
		caps = append(caps, locks.Fencing)
	}
	return caps
}

// Acquire implements locks.Client.
func (c *leases) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (locks.Grant, error) {
	if key == "" || ttl < time.Millisecond {
		return locks.Grant{}, fmt.Errorf("acquire %q for %s: key must be set and ttl at least 1ms: %w", key, ttl, locks.ErrRefused)
	}
	g := locks.Grant{Key: key, TTL: ttl.Truncate(time.Millisecond)}
	err := locks.Retry(ctx, wait, func() error {
		var token int64
		err := c.query(ctx, &token, c.sql.acquire, key, g.TTL.Milliseconds())
		if errors.Is(err, pgx.ErrNoRows) {
			return locks.ErrHeld
		}
		g.Token = c.token(token)
		return err
	})
	if err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	c.mu.Lock()
	c.holds[key] = g.Token
	c.mu.Unlock()
	return g, nil
}

// token has an order only if the sequence gives it one.
func (c *leases) token(n int64) history.Token {
	t := history.OrderedToken(n)
	if !c.fencing {
		t.Order = nil
	}
	return t
}

// query runs a statement that returns one value, or none: pgx.ErrNoRows. It is sent
// once: a repeated attempt would make the outcome of the first one unknowable.
func (c *leases) query(ctx context.Context, value any, sql string, args ...any) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return definite(c.pool.QueryRow(ctx, sql, args...).Scan(value))
}

// owns reports whether this client was granted g and has not released it since.
func (c *leases) owns(g locks.Grant) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !g.Token.IsZero() && c.holds[g.Key].Equal(g.Token)
}

func (c *leases) forget(g locks.Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[g.Key].Equal(g.Token) {
		delete(c.holds, g.Key)
	}
}

// change runs a statement that names the hold by its token and returns the token if
// the hold was still running.
func (c *leases) change(ctx context.Context, g locks.Grant, sql string, args ...any) error {
	if !c.owns(g) {
		return fmt.Errorf("not held here: %w", locks.ErrLost)
	}
	var token int64
	number, err := strconv.ParseInt(g.Token.ID, 10, 64)
	if err != nil {
		return fmt.Errorf("read token: %w: %w", err, locks.ErrRefused)
	}
	err = c.query(ctx, &token, sql, append([]any{g.Key, number}, args...)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return locks.ErrLost
	}
	return err
}

// Renew implements locks.Client.
func (c *leases) Renew(ctx context.Context, g locks.Grant) (time.Duration, error) {
	if err := c.change(ctx, g, c.sql.renew, g.TTL.Milliseconds()); err != nil {
		return 0, fmt.Errorf("renew %s: %w", g.Key, err)
	}
	return g.TTL, nil
}

// Release implements locks.Client.
func (c *leases) Release(ctx context.Context, g locks.Grant) error {
	err := c.change(ctx, g, c.sql.release)
	if err == nil || errors.Is(err, locks.ErrLost) {
		c.forget(g)
	}
	if err != nil {
		return fmt.Errorf("release %s: %w", g.Key, err)
	}
	return nil
}

// Observe implements locks.Observer.
func (c *leases) Observe(ctx context.Context, key string) (history.Holder, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if c.watch != nil {
		h, err := c.watch.observe(ctx, c.pool, key)
		if err != nil {
			return h, fmt.Errorf("observe %s: %w", key, denied(definite(err), c.user, "", c.watch.quoted()))
		}
		if h.Held || !c.owned {
			return h, nil
		}
	}
	var token, left int64 // microseconds
	err := c.pool.QueryRow(ctx, c.sql.observe, key).Scan(&token, &left)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return history.Holder{}, nil
	case err != nil:
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, definite(err))
	}
	return history.Holder{Held: true, ID: c.token(token).ID, Left: time.Duration(left) * time.Microsecond}, nil
}

// Close implements locks.Client. What is held runs out by itself.
func (c *leases) Close() error {
	c.close.Do(c.pool.Close)
	return nil
}
