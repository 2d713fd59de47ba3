package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// sessions is a client of session advisory locks. Every hold has a connection of its
// own, because the hold is the connection: it ends when the server learns that the
// connection is gone, and not before.
type sessions struct {
	config  *pgx.ConnConfig
	life    context.Context // ends with Close
	stop    context.CancelFunc
	watches sync.WaitGroup // one for each hold
	notices chan locks.Notice

	mu     sync.Mutex
	closed bool
	holds  map[string]*hold // by key
	idle   *pgx.Conn        // kept for the next attempt
}

var errClosed = errors.New("client is closed")

func openSessions(ctx context.Context, config *pgx.ConnConfig) (locks.Client, error) {
	conn, err := dial(ctx, config)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	return &sessions{
		config: config, life: life, stop: stop, idle: conn,
		notices: make(chan locks.Notice, 16), holds: map[string]*hold{},
	}, nil
}

// Capabilities implements locks.Client. There is no fencing token and no lease.
func (*sessions) Capabilities() []locks.Capability {
	return append(inspectCapabilities(), locks.ObserveLoss, locks.SessionBound)
}

// Notices implements locks.Notifier.
func (c *sessions) Notices() <-chan locks.Notice { return c.notices }

// tryLock names the session first, so that whoever sees the lock sees whose it is. The
// key is what applications use: hashtextextended of its text.
const tryLock = `SELECT set_config('application_name', $2, false), pg_try_advisory_lock(hashtextextended($1, 0))`

// Acquire implements locks.Client. The lease that is asked for is how long the client
// goes on believing in a connection that does not answer.
func (c *sessions) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (locks.Grant, error) {
	if key == "" || ttl < time.Millisecond {
		return locks.Grant{}, fmt.Errorf("acquire %q for %s: key must be set and ttl at least 1ms: %w", key, ttl, locks.ErrRefused)
	}
	if _, number := parseNumber(key); number {
		return locks.Grant{}, fmt.Errorf("acquire %s: a lock that is known by its number is only looked at: %w", key, locks.ErrRefused)
	}
	h := &hold{key: key, patience: ttl}
	err := locks.Retry(ctx, wait, func() error { return c.attempt(ctx, h) })
	if err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	if err := c.keep(h); err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, errors.Join(err, hangUp(h.conn)))
	}
	return locks.Grant{Key: key, Token: h.token}, nil
}

// attempt tries once. A connection on which it failed is closed, so that nothing of
// it stays: the server frees what it may have granted.
func (c *sessions) attempt(ctx context.Context, h *hold) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := c.take(ctx)
	if err != nil {
		return err
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return errors.Join(fmt.Errorf("make random value: %w: %w", err, locks.ErrRefused), hangUp(conn))
	}
	token := history.Token{ID: "lockaudit-" + hex.EncodeToString(random[:])}
	var name string
	var granted bool
	if err := conn.QueryRow(ctx, tryLock, h.key, token.ID).Scan(&name, &granted); err != nil {
		return errors.Join(definite(err), hangUp(conn))
	}
	if !granted {
		c.give(conn)
		return locks.ErrHeld
	}
	h.conn, h.token = conn, token
	return nil
}

// take returns a connection that holds no lock: the idle one if it is still alive.
func (c *sessions) take(ctx context.Context) (*pgx.Conn, error) {
	c.mu.Lock()
	conn, closed := c.idle, c.closed
	c.idle = nil
	c.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case conn == nil:
	case conn.IsClosed() || conn.Ping(ctx) != nil:
		_ = hangUp(conn) // the server has gone from it already
	default:
		return conn, nil
	}
	return dial(ctx, c.config)
}

// give keeps a connection that holds no lock for the next attempt.
func (c *sessions) give(conn *pgx.Conn) {
	c.mu.Lock()
	if c.idle == nil && !c.closed {
		conn, c.idle = nil, conn
	}
	c.mu.Unlock()
	if conn != nil {
		_ = hangUp(conn)
	}
}

// Renew implements locks.Client: there is no lease to renew.
func (*sessions) Renew(_ context.Context, g locks.Grant) (time.Duration, error) {
	return 0, fmt.Errorf("renew %s: an advisory lock has no lease: %w", g.Key, locks.ErrRefused)
}

// Release implements locks.Client. That the server finds the lock in this session
// proves that it was held until now.
func (c *sessions) Release(ctx context.Context, g locks.Grant) error {
	h, ok := c.find(g)
	if !ok || !c.drop(h) {
		return fmt.Errorf("release %s: not held here: %w", g.Key, locks.ErrLost)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := h.stopWatch(ctx); err != nil {
		return fmt.Errorf("release %s: %w", g.Key, err)
	}
	var held bool
	err := h.conn.QueryRow(ctx, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", g.Key).Scan(&held)
	switch {
	case err != nil:
		return fmt.Errorf("release %s: %w", g.Key, errors.Join(definite(err), hangUp(h.conn)))
	case !held:
		return fmt.Errorf("release %s: %w", g.Key, errors.Join(locks.ErrLost, hangUp(h.conn)))
	}
	c.give(h.conn)
	return nil
}

// holder finds the session that has the lock, by the two halves of its key. What it is
// called is hidden from users without a right to see other users' sessions.
const holder = `
SELECT coalesce(nullif(a.application_name, ''), 'pid ' || l.pid)
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = $3
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = coalesce($2::bigint, hashtextextended($1, 0))`

// Observe implements locks.Observer.
func (c *sessions) Observe(ctx context.Context, key string) (history.Holder, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := c.take(ctx)
	if err != nil {
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, err)
	}
	var id string
	n, known := parseNumber(key)
	number := &n.value
	if !known {
		number, n.parts = nil, 1
	}
	err = conn.QueryRow(ctx, holder, key, number, n.parts).Scan(&id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		c.give(conn)
		return history.Holder{}, nil
	case err != nil:
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, errors.Join(definite(err), hangUp(conn)))
	}
	c.give(conn)
	return history.Holder{Held: true, ID: id}, nil
}

// Close implements locks.Client. With the connections go the locks: so does the end
// of a process.
func (c *sessions) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	c.stop()
	c.watches.Wait()
	close(c.notices)
	if idle != nil {
		_ = hangUp(idle) // also one whose server is gone
	}
	return nil
}
