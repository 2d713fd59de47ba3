package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// Observe implements locks.Observer: the node with the lowest number is the holder's, the
// others wait. ZooKeeper tells nobody how long another session's timeout is, or when it
// was last heard of.
func (c *client) Observe(ctx context.Context, key string) (history.Holder, error) {
	dir := directory(key)
	for {
		reader, err := c.readerNow(ctx)
		if err != nil {
			return history.Holder{}, fmt.Errorf("observe %s: %w", key, err)
		}
		names, err := children(ctx, reader, dir)
		if err != nil {
			return history.Holder{}, fmt.Errorf("observe %s: %w", key, needs(err, "read", dir))
		}
		line := queue(names)
		if len(line) == 0 {
			return history.Holder{}, nil
		}
		first := dir + "/" + line[0]
		stat, err := insist(ctx, reader, func(c *zk.Conn) (*zk.Stat, error) {
			there, stat, err := c.Exists(first)
			if err == nil && !there {
				err = zk.ErrNoNode
			}
			return stat, err
		})
		if errors.Is(err, zk.ErrNoNode) {
			continue // it has just gone
		}
		if err != nil {
			return history.Holder{}, fmt.Errorf("observe %s: %w", key, err)
		}
		return history.Holder{Held: true, ID: strconv.FormatInt(stat.Czxid, 10)}, nil
	}
}

// readerNow is the session for reading, a new one if the last has expired: no hold
// depends on it.
func (c *client) readerNow(ctx context.Context) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errClosed
	case c.reader.why() == nil:
		return c.reader, nil
	}
	fresh, err := c.dialer.open(ctx, idleTimeout)
	if err != nil {
		return nil, err
	}
	c.work.Go(c.reader.close)
	c.reader = fresh
	return fresh, nil
}

// mayRead tries to read the queue of a key, or what there is of its directory: a wrong
// password is noticed by ZooKeeper only where something is asked for.
func mayRead(ctx context.Context, s *session, key string) error {
	for dir := directory(key); ; dir = path.Dir(dir) {
		there, err := insist(ctx, s, func(c *zk.Conn) (bool, error) {
			_, _, err := c.Children(dir)
			if errors.Is(err, zk.ErrNoNode) {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("connect to zookeeper: %w", definite(needs(err, "read", dir)))
		}
		if there || dir == "/" {
			return nil
		}
	}
}

// needs names the permission of a node's access list that a refusal is about, as
// zkCli.sh's setAcl grants it.
func needs(err error, permission, path string) error {
	if !errors.Is(err, zk.ErrNoAuth) {
		return err
	}
	return &locks.Denied{Needs: permission + " on " + path, Err: err}
}
