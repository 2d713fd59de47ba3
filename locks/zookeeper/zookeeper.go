// Package zookeeper locks with Apache ZooKeeper as its applications do, by the lock
// recipe that Curator, kazoo and go-zookeeper share: ephemeral sequential nodes, the
// lowest of which holds the lock. The fencing token is the czxid of that node, which
// grows across elections; its sequence number does not once the directory was removed.
//
// Every grant has a session of its own, because the lease is the session's timeout, and
// two grants of one session would end together.
package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/strict"
)

// Driver is the zookeeper backend.
type Driver struct{}

// Name implements locks.Driver.
func (Driver) Name() string { return "zookeeper" }

// options of the driver, under lock.options in a plan.
type options struct {
	// LocalExpiry ends a hold by the client's own monotonic clock, before the servers can.
	// Without it a hold ends as it does with Curator: when a server says that the session
	// has expired, or a whole session timeout after the connection was lost.
	LocalExpiry bool `json:"local_expiry"`
	// AdminPort is that of the servers' HTTP admin server, from which an inspection learns
	// what they were started with; 0: it is not asked.
	AdminPort int `json:"admin_port"`
}

func optionsOf(t locks.Target) (o options, err error) {
	if err = strict.Options(t.Options, &o, locks.ErrRefused); err != nil {
		return o, err
	}
	if o.AdminPort < 0 || o.AdminPort > math.MaxUint16 {
		return o, fmt.Errorf("decode options: admin_port %d is no port: %w", o.AdminPort, locks.ErrRefused)
	}
	return o, nil
}

// idleTimeout of the session that a client reads with, which owns no node.
const idleTimeout = 10 * time.Second

// Open implements locks.Driver.
func (Driver) Open(ctx context.Context, t locks.Target) (locks.Client, error) {
	o, err := optionsOf(t)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(t)
	if err != nil {
		return nil, err
	}
	reader, err := d.open(ctx, idleTimeout)
	if err != nil {
		return nil, err
	}
	c := &client{
		dialer: d, options: o, reader: reader,
		holds:   map[string]*hold{},
		orphans: map[string][]string{},
		notices: make(chan locks.Notice, 16),
	}
	c.life, c.stop = context.WithCancel(context.Background())
	if t.Key != "" {
		if err := mayRead(ctx, reader, t.Key); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

type client struct {
	dialer  *dialer
	options options
	life    context.Context // ends with Close
	stop    context.CancelFunc
	work    sync.WaitGroup // watches of holds, and sessions that are being closed
	notices chan locks.Notice

	mu     sync.Mutex
	closed bool
	reader *session
	holds  map[string]*hold // by key
	// orphans are the names of nodes that an attempt may have left behind, by directory:
	// the next attempt removes them, so that it does not wait for itself.
	orphans map[string][]string
}

var errClosed = errors.New("client is closed")

// Capabilities implements locks.Client.
func (*client) Capabilities() []locks.Capability {
	return []locks.Capability{
		locks.Fencing, locks.Renew, locks.AutoRenew, locks.ObserveLoss,
		locks.OwnerCheck, locks.Observe, locks.Inspect,
	}
}

// Notices implements locks.Notifier.
func (c *client) Notices() <-chan locks.Notice { return c.notices }

// maxTTL is what a session timeout can be: 32 bits of milliseconds.
const maxTTL = math.MaxInt32 * time.Millisecond

// cleanLimit bounds the removal of an attempt that failed. It has a deadline of its own
// because the caller's context may be what ended the attempt.
const cleanLimit = 3 * time.Second

// Acquire implements locks.Client. The grant has the session timeout that the servers
// have granted, which lies between 2 and 20 of their ticks unless they say otherwise.
func (c *client) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (locks.Grant, error) {
	dir := directory(key)
	if key == "" || dir == "/" || ttl < time.Millisecond || ttl > maxTTL {
		return locks.Grant{}, fmt.Errorf("acquire %q for %s: key and ttl must be set, ttl at least 1ms and at most %s: %w", key, ttl, maxTTL, locks.ErrRefused)
	}
	asked := time.Now()
	s, err := c.dialer.open(ctx, ttl)
	if err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	h := &hold{grant: locks.Grant{Key: key, TTL: s.granted}, session: s, since: asked, node: newNode(dir)}
	if err := c.lock(ctx, h, wait); err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, c.clean(ctx, h, definite(err)))
	}
	if err := c.keep(h); err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	return h.grant, nil
}

// clean removes what an attempt that failed has left at the service. Only when that is
// confirmed is "held" definite.
func (c *client) clean(ctx context.Context, h *hold, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	err := h.node.remove(ctx, h.session)
	c.work.Go(h.session.close)
	held := errors.Is(why, errBehind) || errors.Is(why, errWaited)
	switch {
	case err != nil:
		c.mu.Lock()
		c.orphans[h.node.dir] = append(c.orphans[h.node.dir], h.node.id)
		c.mu.Unlock()
		return fmt.Errorf("%w (and the attempt could not be removed: %w)", why, err)
	case held:
		return fmt.Errorf("%w: %w", locks.ErrHeld, why)
	}
	return why
}

// definite marks an error by which a server has refused a request.
func definite(err error) error {
	for _, refusal := range []error{
		zk.ErrNoAuth, zk.ErrInvalidPath, zk.ErrInvalidACL, zk.ErrAuthFailed, zk.ErrBadArguments, zk.ErrNoChildrenForEphemerals,
	} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w: %w", locks.ErrRefused, err)
		}
	}
	return err
}

// Close implements locks.Client. The sessions of its holds are left to expire.
func (c *client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	for _, h := range c.holds {
		c.work.Go(h.session.abandon)
	}
	c.work.Go(c.reader.close)
	c.mu.Unlock()
	c.stop()
	c.work.Wait()
	close(c.notices)
	return nil
}
