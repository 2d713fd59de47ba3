package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// hold is one grant and the session that keeps it.
type hold struct {
	grant    locks.Grant
	session  *concurrency.Session
	lease    clientv3.LeaseID
	key      string    // of the mutex: prefix/leaseid
	revision int64     // CreateRevision of key, the token
	renewed  time.Time // before the latest renewal that came (or the grant) was asked for
}

func (h *hold) own(revision int64) {
	h.revision = revision
	h.grant.Token = history.OrderedToken(revision)
}

// keep makes h the client's hold of its key and watches it.
func (c *client) keep(h *hold) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed // the lease runs out by itself
	}
	if old := c.holds[h.grant.Key]; old != nil {
		// The service has granted the key anew, so that the old hold is over.
		go old.session.Orphan()
	}
	c.holds[h.grant.Key] = h
	c.watches.Go(func() { c.watch(h) })
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

// watch renews h for as long as its session lives and tells what it sees.
//
// The session renews too, but it does not say when it has sent a renewal, and it
// may have two under way: the time of its latest answer can lie after the sending
// of the next. The watch's own renewals have a Since that is certainly early
// enough; that there are more renewals only makes the lease longer than claimed.
func (c *client) watch(h *hold) {
	every := max(h.grant.TTL/3, 100*time.Millisecond)
	next := time.NewTimer(time.Until(h.renewed.Add(every))) // at once after a long wait
	defer next.Stop()
	for {
		expired, stop := c.expiry(h)
		select {
		case <-h.session.Done():
			stop()
			c.lose(h)
			return
		case <-expired:
			c.lose(h)
			h.session.Orphan()
			return
		case <-next.C:
			stop()
		}
		if errors.Is(c.renewOnce(h, every), rpctypes.ErrLeaseNotFound) {
			c.lose(h)
			h.session.Orphan()
			return
		}
		next.Reset(every)
	}
}

// expiry is when the client counts the hold as over by its own clock; never, unless
// it was asked to.
func (c *client) expiry(h *hold) (expired <-chan time.Time, stop func() bool) {
	if !c.options.LocalExpiry {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(time.Until(h.renewed.Add(h.grant.TTL)))
	return t.C, t.Stop
}

// renewOnce asks for a longer lease, for no longer than limit, nor than the lease
// that is left where the client's own clock ends it.
func (c *client) renewOnce(h *hold, limit time.Duration) error {
	if c.options.LocalExpiry {
		limit = min(limit, time.Until(h.renewed.Add(h.grant.TTL)))
	}
	ctx, cancel := context.WithTimeout(h.session.Ctx(), limit)
	defer cancel()
	sent := time.Now()
	ttl, err := c.keepAlive(ctx, h.lease)
	if err != nil {
		return err
	}
	h.renewed = sent // only the hold's own watch reads and writes it
	c.mu.Lock()
	current := c.holds[h.grant.Key] == h
	c.mu.Unlock()
	if current {
		c.notify(locks.Notice{Kind: locks.Renewed, Key: h.grant.Key, TTL: ttl, Since: sent})
	}
	return nil
}

// lose tells of a loss, unless the hold was released, the client closed, or it is one
// that does not look.
func (c *client) lose(h *hold) {
	if !c.options.IgnoreLoss && c.life.Err() == nil && c.drop(h) {
		c.notify(locks.Notice{Kind: locks.Lost, Key: h.grant.Key})
	}
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
	ttl, err := c.keepAlive(ctx, h.lease)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return 0, fmt.Errorf("renew %s: %w: %w", g.Key, locks.ErrLost, err)
	case err != nil:
		return 0, fmt.Errorf("renew %s: %w", g.Key, err)
	}
	return ttl, nil
}

// keepAlive renews a lease once. The client library's KeepAliveOnce repeats a
// failed attempt without a pause between, which costs a core while no server
// answers; this waits for a connection.
func (c *client) keepAlive(ctx context.Context, id clientv3.LeaseID) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := pb.NewLeaseClient(c.etcd.ActiveConnection()).LeaseKeepAlive(ctx, grpc.WaitForReady(true))
	if err != nil {
		return 0, clientv3.ContextError(ctx, err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
		return 0, clientv3.ContextError(ctx, err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return 0, clientv3.ContextError(ctx, err)
	}
	if answer.TTL <= 0 {
		return 0, rpctypes.ErrLeaseNotFound
	}
	return time.Duration(answer.TTL) * time.Second, nil
}

// Release implements locks.Client. Mutex.Unlock deletes the key without looking;
// a transaction on the CreateRevision proves that the lock was still held.
//
// The session ends in any case: a hold whose release has an unknown outcome must
// not be kept alive.
func (c *client) Release(ctx context.Context, g locks.Grant) error {
	h, ok := c.find(g)
	if !ok || !c.drop(h) {
		return fmt.Errorf("release %s: token %s is not held here: %w", g.Key, g.Token, locks.ErrLost)
	}
	h.session.Orphan()
	answer, err := c.etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(h.key), "=", h.revision)).
		Then(clientv3.OpDelete(h.key)).
		Commit()
	if err != nil {
		return fmt.Errorf("release %s: %w", g.Key, err)
	}
	// The key decides; a lease that cannot be revoked now runs out without it.
	_, _ = c.revoke(ctx, h.lease)
	if !answer.Succeeded {
		return fmt.Errorf("release %s: its key is gone: %w", g.Key, locks.ErrLost)
	}
	return nil
}

// Close implements locks.Client. Leases are not revoked: they run out.
func (c *client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.watches.Wait()
	close(c.notices)
	if err := c.etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close etcd client: %w", err)
	}
	return nil
}
