package redlock

import (
	"context"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/locks"
)

// expiring is a client that heeds the library's Until: a hold that it could not extend
// in time is over by its own clock, whatever the servers still have.
type expiring struct {
	*client
	notices chan locks.Notice
	life    context.Context
	stop    context.CancelFunc

	mu      sync.Mutex // of closed, and of watches' Go against its Wait
	closed  bool
	watches sync.WaitGroup
}

func newExpiring(c *client) *expiring {
	e := &expiring{client: c, notices: make(chan locks.Notice, 16)}
	e.life, e.stop = context.WithCancel(context.Background())
	return e
}

// Capabilities implements locks.Client.
func (e *expiring) Capabilities() []locks.Capability {
	return append(e.client.Capabilities(), locks.ObserveLoss)
}

// Notices implements locks.Notifier.
func (e *expiring) Notices() <-chan locks.Notice { return e.notices }

// Acquire implements locks.Client.
func (e *expiring) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (locks.Grant, error) {
	g, err := e.client.Acquire(ctx, key, ttl, wait)
	if err != nil {
		return g, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.watches.Go(func() { e.watch(g) })
	}
	return g, nil
}

// watch waits for the end of a hold, which each extension moves.
func (e *expiring) watch(g locks.Grant) {
	for {
		h, ok := e.own(g)
		if !ok {
			return
		}
		left := time.Until(h.until)
		if left <= 0 {
			break
		}
		end := time.NewTimer(left)
		select {
		case <-end.C:
		case <-e.life.Done():
			end.Stop()
			return
		}
	}
	if !e.forget(g) {
		return
	}
	select {
	case e.notices <- locks.Notice{Kind: locks.Lost, Key: g.Key}:
	case <-e.life.Done():
	}
}

// Close implements locks.Client.
func (e *expiring) Close() error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.stop()
	e.watches.Wait()
	close(e.notices)
	return e.client.Close()
}
