package check

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

func lostReply(ctx context.Context, b *bench) error   { return b.loseReply(ctx, swallows) }
func brokenReply(ctx context.Context, b *bench) error { return b.loseReply(ctx, breaks) }

// loseReply has the service grant the lock and the client not hear of it. A client that
// claims to know is asked to prove it: after a true fail somebody else gets the lock.
func (b *bench) loseReply(ctx context.Context, mode int32) error {
	t, relays, err := relayed(b.o.Target)
	if err != nil {
		return err
	}
	defer func() {
		for _, r := range relays {
			r.close()
		}
	}()
	x, r, err := b.open(ctx, t, nil)
	if err != nil {
		return err
	}
	defer x.kill()
	if err := expect("init by way of a relay", r, "ok"); err != nil {
		return unshown("the client does not work by way of a relay: " + err.Error())
	}
	_, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	// Once undisturbed, so that connections and scripts are where they should be.
	warm := b.key()
	if r, err = acquire(ctx, x, warm, long, 0); err != nil {
		return err
	}
	if err := expect("release", x.release(ctx, warm, r.Answer.Token), "ok"); err != nil {
		return err
	}
	before := sum(relays)
	if before.asked == 0 {
		return unshown("the client did not use the endpoint that it was given, so that no reply could be lost")
	}
	for _, r := range relays {
		r.mode.Store(mode)
	}
	key := b.key()
	r = x.acquire(ctx, key, long, 0)
	if sum(relays).lost == before.lost {
		return unshown("the service sent nothing that could be lost")
	}
	if r.Type == history.Info {
		return nil // also by saying nothing: the auditor then calls it unknown itself
	}
	if r.Type == history.OK {
		return fmt.Errorf("acquire without a reply of the service: answered ok")
	}
	other := y.acquire(ctx, key, long, 0)
	if other.Type == history.OK {
		return nil // it is true that it does not hold, and nothing is left
	}
	return fmt.Errorf("acquire without a reply of the service: answered %s%s, but the lock is taken: another client's acquire was answered %s", said(r), because(r), said(other))
}

type counts struct{ asked, lost int64 }

func sum(relays []*relay) (c counts) {
	for _, r := range relays {
		c.asked += r.asked.Load()
		c.lost += r.lost.Load()
	}
	return c
}

// relayed puts a relay before each endpoint. Under TLS the names in certificates would
// not fit, and a service that tells its clients other addresses is met there.
func relayed(t locks.Target) (locks.Target, []*relay, error) {
	if t.TLS != nil {
		return t, nil, unshown("the service speaks TLS, in which a relay cannot lose a reply")
	}
	var relays []*relay
	endpoints := make([]string, len(t.Endpoints))
	for i, e := range t.Endpoints {
		address, prefix := e, ""
		if strings.Contains(e, "://") {
			u, err := url.Parse(e)
			if err != nil || u.Scheme == "https" || u.Scheme == "rediss" {
				return t, nil, unshown("the service speaks TLS, in which a relay cannot lose a reply")
			}
			address, prefix = u.Host, u.Scheme+"://"
		}
		r, err := newRelay(address)
		if err != nil {
			return t, nil, unshown("no relay could be made: " + err.Error())
		}
		relays, endpoints[i] = append(relays, r), prefix+r.address()
	}
	t.Endpoints = endpoints
	return t, relays, nil
}
