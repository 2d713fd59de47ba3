package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// How often a state is looked at while it is waited for. It bounds what a wait
// adds to a trial, and what a poll costs the lock service.
const pollEvery = 20 * time.Millisecond

// leaseSlack is how far past its TTL a lease may live before the wait for its end
// is given up: Consul may keep a session for twice its TTL, etcd's lessor looks
// every 500 ms and a new leader extends every lease once.
func leaseSlack(ttl time.Duration) time.Duration { return ttl + 10*time.Second }

// poll calls look until it says done, the deadline passes, or ctx ends.
func poll(ctx context.Context, deadline time.Time, look func() (done bool, err error)) (bool, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		done, err := look()
		if done || err != nil {
			return done, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// untilFree waits until the lock service itself says that nobody holds the key
// any more, seen by a third party. Only the first and the last look are kept in
// the history: the others say the same as the first.
func (t *Trial) untilFree(ctx context.Context, ttl time.Duration) error {
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return err
	}
	return observer.untilFree(ctx, ttl)
}

// untilFree waits until the service as this party sees it says so.
func (p *party) untilFree(ctx context.Context, ttl time.Duration) error {
	t := p.t
	if !p.proc.Can(string(locks.Observe)) {
		return nil // the wait is then for somebody's acquire
	}
	deadline := time.Now().Add(ttl + leaseSlack(ttl))
	first := true
	free, err := poll(ctx, deadline, func() (bool, error) {
		held, left, err := p.look(ctx, first)
		if first && left > 0 {
			t.Progress("waiting for the lease to expire", time.Now().Add(left))
		}
		first = false
		return !held, err
	})
	if err != nil {
		return err
	}
	if !free {
		// The last look is what a judge fails the deployment for.
		if held, _, err := p.look(ctx, true); err != nil || !held {
			return err
		}
		return fmt.Errorf("wait for the lease to expire: still held %s after it should have ended", leaseSlack(ttl))
	}
	return nil
}

// look asks the service who holds the key. It is recorded if keep is set or if
// the key is free.
func (p *party) look(ctx context.Context, keep bool) (held bool, left time.Duration, err error) {
	e := p.event(history.OpObserve, history.Invoke)
	e.Key = p.t.Key
	req := clients.Request{Op: clients.OpObserve, Key: p.t.Key}
	if keep {
		reply, done := p.call(ctx, callLimit, req, e)
		return p.seen(reply, done)
	}
	callCtx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	reply := p.proc.Conn().Do(callCtx, req)
	done := e
	done.Type, done.Code, done.Err = reply.Type, reply.Code, reply.Err
	fill(&done, reply)
	held, left, err = p.seen(reply, done)
	if err != nil || !held {
		e.At, done.At = reply.Invoked, reply.Returned
		done.Call = p.t.record(e).Seq
		p.t.record(done)
	}
	return held, left, err
}

// glance asks whether the key is held, for nobody's record.
func (p *party) glance(ctx context.Context) (held bool, err error) {
	callCtx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	done := p.event(history.OpObserve, history.Info)
	reply := p.proc.Conn().Do(callCtx, clients.Request{Op: clients.OpObserve, Key: p.t.Key})
	fill(&done, reply)
	held, _, err = p.seen(reply, done)
	return held, err
}

func (p *party) seen(reply clients.Reply, done history.Event) (bool, time.Duration, error) {
	if done.Holder == nil {
		return false, 0, outcome("observer asks who holds "+p.t.Key, reply)
	}
	return done.Holder.Held, done.Holder.Left, nil
}
