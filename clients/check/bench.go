package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/resources"
)

// bench is the battery's place of work.
type bench struct {
	o    Options
	run  string // makes the keys of this run its own
	keys int

	name string
	caps []locks.Capability
	// a and b are introduced to the service and serve several checks; all are all
	// processes that were started.
	a, b *peer
	all  []*peer
}

func (b *bench) close() {
	for _, p := range b.all {
		p.kill()
	}
}

// key is one that nobody has used.
func (b *bench) key() string {
	b.keys++
	return fmt.Sprintf("%s/lockaudit-check-%s-%d", b.o.Target.Key, b.run, b.keys)
}

func (b *bench) can(c locks.Capability) bool { return slices.Contains(b.caps, c) }

func (b *bench) ttl() time.Duration { return b.o.Target.TTL }

// long is a lease that no check sees the end of.
const long = 60 * time.Second

// start starts a client that is not introduced yet.
func (b *bench) start(ctx context.Context) (*peer, error) {
	p, err := startPeer(ctx, b.o)
	if err == nil {
		b.all = append(b.all, p)
	}
	return p, err
}

// open starts a client and introduces a service and perhaps a resource to it.
func (b *bench) open(ctx context.Context, t locks.Target, r *resources.Target) (*peer, clients.Reply, error) {
	p, err := b.start(ctx)
	if err != nil {
		return nil, clients.Reply{}, err
	}
	return p, p.do(ctx, clients.Request{Op: clients.OpInit, Version: clients.Version, Node: "check", Lock: &t, Resource: r}), nil
}

// fresh is a client of its own for a check that ends it.
func (b *bench) fresh(ctx context.Context) (*peer, error) {
	p, r, err := b.open(ctx, b.o.Target, nil)
	if err != nil {
		return nil, err
	}
	return p, expect("init", r, "ok")
}

// pair returns two clients, the same ones as long as they live.
func (b *bench) pair(ctx context.Context) (x, y *peer, err error) {
	for _, p := range []**peer{&b.a, &b.b} {
		if *p == nil {
			if *p, err = b.fresh(ctx); err != nil {
				*p = nil
				return nil, nil, err
			}
		}
	}
	return b.a, b.b, nil
}

// dropBroken has the next check start anew what the last one has seen break.
func (b *bench) dropBroken() {
	for _, p := range []**peer{&b.a, &b.b} {
		if *p != nil && (*p).conn.Err() != nil {
			(*p).kill()
			*p = nil
		}
	}
}

// acquire asks for the lock and wants it.
func acquire(ctx context.Context, p *peer, key string, ttl, wait time.Duration) (clients.Reply, error) {
	r := p.acquire(ctx, key, ttl, wait)
	return r, expect("acquire a free lock", r, "ok")
}

// stillHeld wants another client to be refused.
func stillHeld(ctx context.Context, p *peer, key, when string) error {
	r := p.acquire(ctx, key, long, 0)
	if r.Type == history.OK {
		p.release(ctx, key, r.Answer.Token)
	}
	return expect("another client's acquire "+when, r, "fail held")
}

// takeOver polls until the client is granted the lock, and returns that answer.
func takeOver(ctx context.Context, p *peer, key string, ttl, most time.Duration) (clients.Reply, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(most); ; {
		r := p.acquire(ctx, key, ttl, 0)
		if r.Type == history.OK || p.conn.Err() != nil {
			return r, expect("acquire after the lease", r, "ok")
		}
		if time.Now().After(end) {
			return r, fmt.Errorf("still not granted %s after the lease should have ended: answered %s%s", most, said(r), because(r))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}
