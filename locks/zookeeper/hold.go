package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/locks"
)

// hold is one grant and the session that keeps it.
type hold struct {
	grant   locks.Grant
	session *session
	node    node
	// since: the leader has certainly heard of the session after this moment, so that it
	// does not expire before a session timeout has passed from here.
	since time.Time
}

// slack is how much earlier than a renewal was sent the leader may have heard of the
// session for the last time. A server that follows answers pings itself, and tells the
// leader of them with its own next ping: every half tick, and a session timeout has two
// ticks at least.
func (h *hold) slack() time.Duration { return h.grant.TTL / 4 }

// every is the time between two renewals. The library's own pings come every third.
func (h *hold) every() time.Duration { return max(h.grant.TTL/5, 50*time.Millisecond) }

// keep makes h the client's hold of its key and watches it.
func (c *client) keep(h *hold) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		go h.session.abandon()
		return errClosed
	}
	if old := c.holds[h.grant.Key]; old != nil {
		// The service has granted the key anew, so that the old hold is over.
		c.work.Go(old.session.close)
	}
	c.holds[h.grant.Key] = h
	c.work.Go(func() { c.watch(h) })
	return nil
}

// drop forgets h; it reports whether h was still the client's hold.
func (c *client) drop(h *hold) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[h.grant.Key] != h {
		return false
	}
	delete(c.holds, h.grant.Key)
	return true
}

// find returns the client's own hold with g's token.
func (c *client) find(g locks.Grant) (*hold, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holds[g.Key]
	if h == nil || !h.grant.Token.Equal(g.Token) {
		return nil, false
	}
	return h, true
}

// watch renews h for as long as its session lives and tells what it sees. The library
// pings too, and does not say when, and a server that was cut off from the leader goes on
// answering pings of a session that has expired; a renewal here is one that the leader
// has answered.
func (c *client) watch(h *hold) {
	next := time.NewTimer(time.Until(h.since.Add(h.every())))
	defer next.Stop()
	for {
		expired, stop := c.expiry(h)
		select {
		case <-h.session.over:
			stop()
			c.lose(h)
			return
		case <-expired:
			c.lose(h)
			return
		case <-next.C:
			stop()
		}
		if err := c.renewOnce(h); errors.Is(err, locks.ErrLost) {
			c.lose(h)
			return
		}
		next.Reset(h.every())
	}
}

// expiry is when the client counts the hold as over by its own clock; never, unless it
// was asked to.
func (c *client) expiry(h *hold) (expired <-chan time.Time, stop func() bool) {
	if !c.options.LocalExpiry {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(time.Until(h.since.Add(h.grant.TTL)))
	return t.C, t.Stop
}

// renewOnce asks for no longer than half a lease, nor than what is left of it where the
// client's own clock ends it.
func (c *client) renewOnce(h *hold) error {
	limit := h.grant.TTL / 2
	if c.options.LocalExpiry {
		limit = min(limit, time.Until(h.since.Add(h.grant.TTL)))
	}
	ctx, cancel := context.WithTimeout(c.life, limit)
	defer cancel()
	sent := time.Now()
	if err := h.alive(ctx); err != nil {
		return err
	}
	h.since = sent.Add(-h.slack()) // only the hold's own watch reads and writes it
	c.mu.Lock()
	current := c.holds[h.grant.Key] == h
	c.mu.Unlock()
	if current {
		c.notify(locks.Notice{Kind: locks.Renewed, Key: h.grant.Key, TTL: h.grant.TTL, Since: h.since})
	}
	return nil
}

// alive asks the leader: the session is touched on the way, and the node must be there.
func (h *hold) alive(ctx context.Context) error {
	there, err := ask(ctx, h.session, func(c *zk.Conn) (bool, error) {
		if _, err := c.Sync(h.node.path); err != nil && !errors.Is(err, zk.ErrNoNode) {
			return false, err
		}
		there, _, err := c.Exists(h.node.path)
		return there, err
	})
	switch {
	case h.session.why() != nil:
		return fmt.Errorf("%w: %w", locks.ErrLost, h.session.why())
	case errors.Is(err, errExpired):
		return fmt.Errorf("%w: %w", locks.ErrLost, err)
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("%w: its node %s is gone", locks.ErrLost, h.node.path)
	}
	return nil
}

// lose tells of a loss, unless the hold was released or the client closed.
func (c *client) lose(h *hold) {
	if c.life.Err() != nil || !c.drop(h) {
		return
	}
	c.work.Go(h.session.close)
	c.notify(locks.Notice{Kind: locks.Lost, Key: h.grant.Key})
}

func (c *client) notify(n locks.Notice) {
	select {
	case c.notices <- n:
	case <-c.life.Done():
	}
}

// Renew implements locks.Client.
func (c *client) Renew(ctx context.Context, g locks.Grant) (time.Duration, error) {
	h, ok := c.find(g)
	if !ok {
		return 0, fmt.Errorf("renew %s: token %s is not held here: %w", g.Key, g.Token, locks.ErrLost)
	}
	if err := h.alive(ctx); err != nil {
		return 0, fmt.Errorf("renew %s: %w", g.Key, err)
	}
	return h.grant.TTL, nil
}

// Release implements locks.Client. That the node was there to be deleted proves that the
// lock was still held. The session ends in any case: a hold whose release has an unknown
// outcome must not be kept alive.
func (c *client) Release(ctx context.Context, g locks.Grant) error {
	h, ok := c.find(g)
	if !ok || !c.drop(h) {
		return fmt.Errorf("release %s: token %s is not held here: %w", g.Key, g.Token, locks.ErrLost)
	}
	defer c.work.Go(h.session.close)
	_, err := ask(ctx, h.session, func(c *zk.Conn) (any, error) { return nil, c.Delete(h.node.path, -1) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, zk.ErrNoNode):
		return fmt.Errorf("release %s: its node is gone: %w", g.Key, locks.ErrLost)
	case errors.Is(err, errExpired):
		return fmt.Errorf("release %s: %w: %w", g.Key, locks.ErrLost, err)
	}
	return fmt.Errorf("release %s: %w", g.Key, err)
}
