package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/history"
)

var (
	// errBehind: somebody is ahead in the queue.
	errBehind = errors.New("another node is ahead")
	// errWaited: the wait was used up while somebody was ahead.
	errWaited = errors.New("wait used up")
)

// lock takes the hold's place in the queue and waits for up to wait until it is the first.
func (c *client) lock(ctx context.Context, h *hold, wait time.Duration) error {
	if err := c.removeOrphans(ctx, h); err != nil {
		return err
	}
	if err := h.node.create(ctx, h.session); err != nil {
		return err
	}
	stat, err := insist(ctx, h.session, func(c *zk.Conn) (*zk.Stat, error) {
		there, stat, err := c.Exists(h.node.path)
		if err == nil && !there {
			err = zk.ErrNoNode
		}
		return stat, err
	})
	if err != nil {
		return fmt.Errorf("read token: %w", err)
	}
	h.grant.Token = history.OrderedToken(stat.Czxid)
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, wait, errWaited)
		defer cancel()
	}
	if err := h.first(ctx, wait > 0); err != nil {
		if ctx.Err() != nil && errors.Is(context.Cause(ctx), errWaited) {
			return errWaited
		}
		return err
	}
	return nil
}

// first returns once the hold's node is the first of the queue. Each node watches the one
// before it, so that a release wakes one client and not all.
func (h *hold) first(ctx context.Context, wait bool) error {
	for {
		names, err := insist(ctx, h.session, func(c *zk.Conn) ([]string, error) {
			names, _, err := c.Children(h.node.dir)
			return names, err
		})
		if err != nil {
			return fmt.Errorf("read queue: %w", err)
		}
		line := queue(names)
		own := slices.IndexFunc(line, func(name string) bool { return h.node.dir+"/"+name == h.node.path })
		switch {
		case own < 0:
			return fmt.Errorf("read queue: own node %s is gone", h.node.path)
		case own == 0:
			return nil
		case !wait:
			return errBehind
		}
		if err := h.awaitChange(ctx, h.node.dir+"/"+line[own-1]); err != nil {
			return err
		}
	}
}

// awaitChange returns once something has happened to a node, or to the connection.
func (h *hold) awaitChange(ctx context.Context, path string) error {
	type watch struct {
		there bool
		event <-chan zk.Event
	}
	w, err := insist(ctx, h.session, func(c *zk.Conn) (w watch, err error) {
		w.there, _, w.event, err = c.ExistsW(path)
		return w, err
	})
	if err != nil {
		return fmt.Errorf("watch the one before: %w", err)
	}
	if !w.there {
		return nil
	}
	select {
	case <-w.event:
		return nil
	case <-h.session.over:
		return h.session.why()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// removeOrphans removes what earlier attempts of this client could not: it would wait for
// itself until their sessions have expired.
func (c *client) removeOrphans(ctx context.Context, h *hold) error {
	c.mu.Lock()
	ids := slices.Clone(c.orphans[h.node.dir])
	c.mu.Unlock()
	for _, id := range ids {
		n := node{dir: h.node.dir, id: id}
		if err := n.remove(ctx, h.session); err != nil {
			return fmt.Errorf("remove what an earlier attempt has left: %w", err)
		}
		c.mu.Lock()
		c.orphans[h.node.dir] = slices.DeleteFunc(c.orphans[h.node.dir], func(one string) bool { return one == id })
		c.mu.Unlock()
	}
	return nil
}
