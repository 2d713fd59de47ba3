package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// hold is one session that has the lock. Its watch has the connection to itself until
// it is stopped.
type hold struct {
	key   string
	token history.Token
	conn  *pgx.Conn
	// patience is how long the connection may be without an answer before the client
	// counts it as gone, and hangs up.
	patience time.Duration
	cancel   context.CancelFunc
	ended    chan struct{} // the watch has let go of the connection
}

// keep makes h the client's hold of its key and watches it.
func (c *sessions) keep(h *hold) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	watching, cancel := context.WithCancel(c.life)
	h.cancel, h.ended = cancel, make(chan struct{})
	if old := c.holds[h.key]; old != nil {
		old.abandon() // the server has granted the key anew: that session is gone
	}
	c.holds[h.key] = h
	c.watches.Go(func() {
		defer close(h.ended)
		c.watch(watching, h)
	})
	return nil
}

// drop forgets h; it reports whether h was still the client's hold.
func (c *sessions) drop(h *hold) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[h.key] != h {
		return false
	}
	delete(c.holds, h.key)
	return true
}

func (c *sessions) find(g locks.Grant) (*hold, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holds[g.Key]
	return h, h != nil && h.token.Equal(g.Token)
}

// stopWatch takes the connection back. If ctx ends first the connection is given up,
// and the lock with it.
func (h *hold) stopWatch(ctx context.Context) error {
	h.cancel()
	select {
	case <-h.ended:
		return nil
	case <-ctx.Done():
		h.abandon()
		return ctx.Err()
	}
}

// abandon gives the connection up as soon as the watch has let go of it.
func (h *hold) abandon() {
	h.cancel()
	go func() {
		<-h.ended
		_ = hangUp(h.conn)
	}()
}

// watch notices the end of the connection: at once if the server closes it, and after
// patience if nothing comes any more. It hangs up then: a client that no longer counts
// itself as the holder must not be one for the server. It returns when the connection
// is somebody else's: the releaser's, or nobody's.
func (c *sessions) watch(ctx context.Context, h *hold) {
	every := h.patience / 3
	for {
		err := listen(ctx, h.conn.PgConn(), every)
		if err == nil {
			err = h.ping(h.patience - every)
		}
		switch {
		case ctx.Err() != nil && c.life.Err() == nil:
			return // the connection passes to the one who cancelled
		case c.life.Err() != nil:
			c.drop(h)
			_ = hangUp(h.conn)
			return
		case err != nil:
			_ = hangUp(h.conn) // pgx has closed it already, or it ends here
			if c.drop(h) {
				c.notify(locks.Notice{Kind: locks.Lost, Key: h.key})
			}
			return
		}
	}
}

// listen waits for the end of the connection for up to d. The server says nothing by
// itself but that: what it tells of (a parameter, a notice) does not count.
func listen(ctx context.Context, conn *pgconn.PgConn, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		err := conn.WaitForNotification(ctx)
		switch {
		case conn.IsClosed():
			return fmt.Errorf("connection ended: %w", err)
		case ctx.Err() != nil:
			return nil
		case err != nil && !pgconn.Timeout(err):
			return err
		}
	}
}

// ping asks the server for an answer, for what is left of patience since the one
// before. It is not cancelled with the watch: a statement that is given up costs the
// connection.
func (h *hold) ping(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return h.conn.Ping(ctx)
}

func (c *sessions) notify(n locks.Notice) {
	select {
	case c.notices <- n:
	case <-c.life.Done():
	}
}
