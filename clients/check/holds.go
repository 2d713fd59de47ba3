package check

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

func releases(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return err
	}
	if err := expect("release", x.release(ctx, key, r.Answer.Token), "ok"); err != nil {
		return err
	}
	next, err := acquire(ctx, y, key, long, 0)
	if err != nil {
		return fmt.Errorf("after a release: %w", err)
	}
	if err := expect("a second release of the same hold", x.release(ctx, key, r.Answer.Token), "fail lost"); err != nil {
		return err
	}
	if err := stillHeld(ctx, x, key, "after a second release by the one before"); err != nil {
		return err
	}
	return expect("release", y.release(ctx, key, next.Answer.Token), "ok")
}

func foreign(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, long, 0)
	if err != nil {
		return err
	}
	stranger := *r.Answer.Token
	stranger.ID += "0"
	if err := expect("release with a token that nobody was given", y.release(ctx, key, &stranger), "fail lost"); err != nil {
		return err
	}
	if b.can(locks.Renew) {
		if err := expect("renew with a token that nobody was given", y.renew(ctx, key, &stranger), "fail lost"); err != nil {
			return err
		}
	}
	if err := stillHeld(ctx, y, key, "after a release with a token that nobody was given"); err != nil {
		return err
	}
	return expect("release", x.release(ctx, key, r.Answer.Token), "ok")
}

func tokens(ctx context.Context, b *bench) error {
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key, seen := b.key(), map[string]bool{}
	var last history.Token
	for i := range 8 {
		p := x
		if i%3 == 2 { // also twice in a row by one client
			p = y
		}
		r, err := acquire(ctx, p, key, long, 0)
		if err != nil {
			return err
		}
		token := *r.Answer.Token
		if seen[token.ID] {
			return fmt.Errorf("the token %q was given twice", token.ID)
		}
		seen[token.ID] = true
		if ordered := token.Order != nil; ordered != b.can(locks.Fencing) {
			return fmt.Errorf("token.order is there: %t, and the capabilities say fencing: %t", ordered, b.can(locks.Fencing))
		}
		if cmp, ok := token.Compare(last); ok && cmp <= 0 {
			return fmt.Errorf("a later grant has the order %s, and an earlier one had %s", token.Order, last.Order)
		}
		if err := expect("release", p.release(ctx, key, &token), "ok"); err != nil {
			return err
		}
		last = token
	}
	return nil
}

// renews: with renewals the lock is held for longer than one lease, and another client
// is refused then.
func renews(ctx context.Context, b *bench) error {
	if !b.can(locks.Renew) {
		return unshown("the client does not promise renew")
	}
	if b.can(locks.SessionBound) {
		return unshown("there is no lease to make longer")
	}
	x, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	r, err := acquire(ctx, x, key, b.ttl(), 0)
	if err != nil {
		return err
	}
	lease := time.Duration(r.Answer.TTLms) * time.Millisecond
	invoked, granted := r.Invoked, r.Invoked
	tick := time.NewTicker(lease / 6)
	defer tick.Stop()
	for x.now()-granted < lease+lease/2 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		before := x.now()
		if before-invoked > lease/2 {
			return unshown("this machine stood still for most of a lease")
		}
		n := x.renew(ctx, key, r.Answer.Token)
		if err := expect("renew of a hold", n, "ok"); err != nil {
			return err
		}
		invoked = before
	}
	// Not with stillHeld: what it would be granted late is no fault of the client's.
	other := y.acquire(ctx, key, long, 0)
	if x.now()-invoked > lease/2 {
		return unshown("this machine stood still for most of a lease")
	}
	if err := expect("another client's acquire of a lock that was renewed", other, "fail held"); err != nil {
		return err
	}
	return expect("release", x.release(ctx, key, r.Answer.Token), "ok")
}

// expires lets a hold run out. One that its client would renew ends with the client.
func expires(ctx context.Context, b *bench) error {
	x, err := b.fresh(ctx)
	if err != nil {
		return err
	}
	_, y, err := b.pair(ctx)
	if err != nil {
		return err
	}
	key := b.key()
	began := time.Now()
	r, err := acquire(ctx, x, key, b.ttl(), 0)
	if err != nil {
		return err
	}
	bound := b.can(locks.AutoRenew) || b.can(locks.SessionBound)
	if bound {
		x.kill()
	}
	lease := time.Duration(r.Answer.TTLms) * time.Millisecond
	next, err := takeOver(ctx, y, key, long, 2*lease+30*time.Second)
	if err != nil {
		return err
	}
	if took := time.Since(began); took < lease && !b.can(locks.SessionBound) {
		return fmt.Errorf("the lock was granted again %s after it was granted for %s", took.Round(time.Millisecond), lease)
	}
	if !bound {
		if err := expect("release after the lease", x.release(ctx, key, r.Answer.Token), "fail lost"); err != nil {
			return err
		}
		if err := stillHeld(ctx, x, key, "after a late release by the one before"); err != nil {
			return err
		}
	}
	return expect("release", y.release(ctx, key, next.Answer.Token), "ok")
}

// span is one hold on this process's clock: certainly held from the answer to the
// acquire until the release is sent.
type span struct{ from, to time.Duration }

const (
	rivals  = 4
	contest = 2 * time.Second
	fewest  = 8 // holds, for the contest to mean anything
)

// excludes has processes compete for one lock.
func excludes(ctx context.Context, b *bench) error {
	key, began := b.key(), time.Now()
	var (
		mu    sync.Mutex
		spans []span
		errs  = make(chan error, rivals)
	)
	var peers []*peer
	for range rivals {
		p, err := b.fresh(ctx)
		if err != nil {
			return err
		}
		defer p.kill()
		peers = append(peers, p)
	}
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(spans) >= fewest && time.Since(began) > contest || time.Since(began) > 10*contest
	}
	for _, p := range peers {
		go func() {
			errs <- func() error {
				for !enough() {
					r := p.acquire(ctx, key, long, limit)
					if r.Type == history.Fail && r.Code == history.CodeHeld {
						continue
					}
					if err := expect("acquire in a contest", r, "ok"); err != nil {
						return err
					}
					from := time.Since(began)
					hold := time.NewTimer(2 * time.Millisecond)
					<-hold.C
					to := time.Since(began)
					if err := expect("release in a contest", p.release(ctx, key, r.Answer.Token), "ok"); err != nil {
						return err
					}
					mu.Lock()
					spans = append(spans, span{from, to})
					mu.Unlock()
				}
				return nil
			}()
		}()
	}
	var first error
	for range peers {
		if err := <-errs; first == nil {
			first = err
		}
	}
	if first != nil {
		return first
	}
	return overlap(spans)
}

func overlap(spans []span) error {
	if len(spans) < fewest {
		return unshown(fmt.Sprintf("only %d grants in %s", len(spans), 10*contest))
	}
	slices.SortFunc(spans, func(x, y span) int { return int(x.from - y.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return fmt.Errorf("two processes held the lock at one time, for %s", (min(spans[i].to, spans[i-1].to) - spans[i].from).Round(time.Microsecond))
		}
	}
	return nil
}

// deadService introduces a service that is not there.
func deadService(ctx context.Context, b *bench) error {
	relay, err := newRelay("")
	if err != nil {
		return err
	}
	address := relay.address()
	relay.close()
	t := b.o.Target
	t.Endpoints = []string{address}
	p, r, err := b.open(ctx, t, nil)
	if err != nil || r.Type != history.OK {
		return err // it does not even begin: so much the better
	}
	r = p.acquire(ctx, b.key(), b.ttl(), 0)
	if r.Type == history.OK || r.Code == history.CodeHeld {
		return fmt.Errorf("acquire without a service: answered %s%s", said(r), because(r))
	}
	return nil
}
