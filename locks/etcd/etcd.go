// Package etcd locks with etcd v3 as its applications do: concurrency.Session and
// concurrency.Mutex, and the CreateRevision of the lock's key as fencing token.
//
// Every grant has a session, and so a lease, of its own: two grants under one
// session would have one token ("same session = same token").
package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/strict"
)

// Driver is the etcd backend.
type Driver struct{}

// Name implements locks.Driver.
func (Driver) Name() string { return "etcd" }

// Open implements locks.Driver.
func (Driver) Open(ctx context.Context, t locks.Target) (locks.Client, error) {
	o, err := optionsOf(t)
	if err != nil {
		return nil, err
	}
	etcd, err := connect(ctx, t)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	return &client{
		etcd: etcd, options: o, life: life, stop: stop,
		holds:   map[string]*hold{},
		notices: make(chan locks.Notice, 16),
	}, nil
}

// options of the driver, under lock.options in a plan.
type options struct {
	// LocalExpiry ends a hold by the client's own monotonic clock, a lease after the
	// latest renewal that was answered was sent. Without it a hold ends as that of
	// etcd's own session does: a lease after the latest answer, and where the first
	// one never comes, not before the client's dial timeout and one second.
	LocalExpiry bool `json:"local_expiry"`
	// IgnoreLoss: the client stands for an application that never looks whether its
	// session is done. It goes on as if it held the lock.
	IgnoreLoss bool `json:"ignore_loss"`
}

func optionsOf(t locks.Target) (o options, err error) {
	return o, strict.Options(t.Options, &o, locks.ErrRefused)
}

type client struct {
	etcd    *clientv3.Client
	options options
	life    context.Context // ends with Close
	stop    context.CancelFunc
	watches sync.WaitGroup // one for each hold that is watched
	notices chan locks.Notice

	mu     sync.Mutex
	closed bool
	holds  map[string]*hold // by key
}

var errClosed = errors.New("client is closed")

// Capabilities implements locks.Client.
func (c *client) Capabilities() []locks.Capability {
	all := []locks.Capability{
		locks.Fencing, locks.Renew, locks.AutoRenew,
		locks.OwnerCheck, locks.Observe, locks.Inspect,
	}
	if !c.options.IgnoreLoss {
		all = append(all, locks.ObserveLoss)
	}
	return all
}

// Notices implements locks.Notifier.
func (c *client) Notices() <-chan locks.Notice { return c.notices }

// cleanLimit bounds the removal of an attempt that failed, and of a session after
// its release. It has a deadline of its own because the caller's context may be
// what ended the attempt.
const cleanLimit = 5 * time.Second

// Acquire implements locks.Client. The lease is rounded up to whole seconds, and
// etcd raises a short one to its own minimum; the grant has what it gave.
func (c *client) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (locks.Grant, error) {
	if key == "" || ttl <= 0 || ttl > maxTTL {
		return locks.Grant{}, fmt.Errorf("acquire %q for %s: key and ttl must be set, ttl at most %s: %w", key, ttl, maxTTL, locks.ErrRefused)
	}
	asked := time.Now()
	lease, err := c.etcd.Grant(ctx, int64(math.Ceil(ttl.Seconds())))
	if err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: grant lease: %w", key, err)
	}
	h := &hold{
		grant:   locks.Grant{Key: key, TTL: time.Duration(lease.TTL) * time.Second},
		lease:   lease.ID,
		renewed: asked,
	}
	h.session, err = concurrency.NewSession(c.etcd, concurrency.WithLease(lease.ID), concurrency.WithContext(c.life))
	if err != nil {
		_, cleanErr := c.revoke(ctx, lease.ID)
		return locks.Grant{}, fmt.Errorf("acquire %s: keep lease alive: %w", key, errors.Join(err, cleanErr))
	}
	if err := c.lock(ctx, h, wait); err != nil {
		h.session.Orphan()
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, c.clean(ctx, h, err))
	}
	if err := c.keep(h); err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	return h.grant, nil
}

// maxTTL is etcd's own limit for a lease.
const maxTTL = 9_000_000_000 * time.Second

// errWaited: the wait was used up while others were ahead in the queue.
var errWaited = errors.New("wait used up")

// lock takes the mutex and reads its token. The mutex runs in a goroutine of its
// own because it cleans up under the client's context, which may take for ever
// while no server answers.
func (c *client) lock(ctx context.Context, h *hold, wait time.Duration) error {
	lockCtx := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		lockCtx, cancel = context.WithTimeoutCause(ctx, wait, errWaited)
		defer cancel()
	}
	mutex := concurrency.NewMutex(h.session, h.grant.Key)
	done := make(chan error, 1)
	go func() {
		if wait > 0 {
			done <- mutex.Lock(lockCtx)
			return
		}
		done <- mutex.TryLock(lockCtx)
	}()
	select {
	case err := <-done:
		if err != nil {
			return cause(lockCtx, err)
		}
	case <-lockCtx.Done():
		return cause(lockCtx, lockCtx.Err())
	}
	h.key = mutex.Key()
	got, err := c.etcd.Get(ctx, h.key)
	if err != nil {
		return fmt.Errorf("read token: %w", err)
	}
	if len(got.Kvs) == 0 {
		return fmt.Errorf("read token: the lease ended while the lock was taken: %w", concurrency.ErrSessionExpired)
	}
	h.own(got.Kvs[0].CreateRevision)
	return nil
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errWaited) {
		return errWaited
	}
	return err
}

// clean removes what an attempt that failed has left at the service: with the
// lease goes the key, and no request that is still under way can come to anything
// afterwards. Only when that is confirmed is "held" definite.
func (c *client) clean(ctx context.Context, h *hold, why error) error {
	gone, err := c.revoke(ctx, h.lease)
	held := errors.Is(why, concurrency.ErrLocked) || errors.Is(why, errWaited)
	switch {
	case held && gone:
		return fmt.Errorf("%w: %w", locks.ErrHeld, why)
	case !gone:
		return fmt.Errorf("%w (and the attempt could not be removed: %w)", why, err)
	}
	return why
}

// revoke reports whether the lease is certainly gone.
func (c *client) revoke(ctx context.Context, id clientv3.LeaseID) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	_, err = c.etcd.Revoke(ctx, id)
	if err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return true, nil
	}
	return false, fmt.Errorf("revoke lease: %w", err)
}
