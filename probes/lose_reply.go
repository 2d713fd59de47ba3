package probes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// toldTrips is how many round trips the service is given to tell A of its grant. An
// etcd server was seen to take 10 ms longer than for the answer to a third party.
const toldTrips = 50

// loseAcquireReply: the lock is granted and the client does not hear of it. What it
// asks next is a retry; it may be refused by what it holds without knowing.
//
// A service that takes several steps for a grant loses the reply of the first one
// here. Then A queues behind B first, and it is the grant itself that goes unheard.
func loseAcquireReply() Probe {
	limit := func(p Params) time.Duration { return p.TTL + 4*callLimit }
	return Probe{
		Name:     "lose-acquire-reply",
		About:    "A's acquire arrives and its reply is lost; A tries again: is it granted, and nothing left behind?",
		needs:    []need{lockPeers},
		MaxFault: limit,
		Demands:  cutsClientA("in", limit),
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("packets from the lock service (%s) to %s vanish, for at most %s, once or twice", places(p), clientA(p), limit(p)),
				fmt.Sprintf("acquire %s on %s meanwhile, give up, and acquire it again afterwards; a grant on %s before, which may block it", p.Key, p.NodeA, p.NodeB),
			}
		},
		Trial: func(ctx context.Context, t *Trial) error {
			cut := t.ofA(Cut{Peers: t.LockPeers, Ports: t.LockPorts, Direction: "in", For: limit(t.Params)})
			return loseReply(ctx, t, cut)
		},
	}
}

func loseReply(ctx context.Context, t *Trial, cut Cut) error {
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return err
	}
	if !observer.proc.Can(string(locks.Observe)) {
		return fmt.Errorf("%w: no client can see who holds the key", ErrSkip)
	}
	// Also so that A's connections are there before the cut.
	if err := errors.Join(a.untilFree(ctx, t.TTL), b.untilFree(ctx, t.TTL)); err != nil {
		return err
	}
	t.step("1 A acquires, and hears nothing")
	carried, err := t.unheard(ctx, a, nil, 0, cut)
	if err != nil {
		return err
	}
	// That A queues cannot be seen from outside; it takes some round trips, and more of
	// them on a busy machine.
	for _, trips := range []int{20, 100, 500} {
		if carried {
			break
		}
		t.step("2 A queues behind B and is granted the lock, and hears nothing")
		// Its connections are in the middle of retransmissions, and would not let it
		// queue in time.
		if a, err = t.restart(ctx, "a"); err != nil {
			return err
		}
		if err := b.acquire(ctx, t.fresh()); err != nil {
			return err
		}
		if carried, err = t.unheard(ctx, a, b, trips, cut); err != nil {
			return err
		}
	}
	t.step("3 A tries again")
	if r := a.tryAcquire(ctx, 0); r.Type != history.OK {
		return nil // its end shows in the next trial: the key becomes free
	}
	a.release(ctx)
	return t.untilFree(ctx, t.TTL)
}

// unheard has A try to acquire while replies are lost, until a third party sees that
// it was carried out, for at most a quarter of a lease, and heals. A waits for
// whoever holds, if there is somebody, who releases when A has had the time of so many
// round trips to queue.
func (t *Trial) unheard(ctx context.Context, a, holder *party, trips int, cut Cut) (carried bool, err error) {
	attempt, giveUp := context.WithCancel(ctx)
	cuts := &cuts{t: t}
	var tried sync.WaitGroup
	defer func() {
		giveUp()
		tried.Wait()
		err = errors.Join(err, cuts.heal(ctx))
		if err == nil {
			err = cuts.bit()
		}
	}()
	wait := time.Duration(0)
	if holder != nil {
		wait = t.TTL
		tried.Go(func() { a.attempt(attempt, wait, wait+callLimit) })
		for range trips {
			if _, err := holder.glance(ctx); err != nil {
				return false, err
			}
		}
	}
	if err := cuts.cut(ctx, t.NodeA, "a", cut); err != nil {
		return false, err
	}
	if holder != nil {
		holder.release(ctx)
	} else {
		tried.Go(func() { a.attempt(attempt, wait, wait+callLimit) })
	}
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return false, err
	}
	carried, err = poll(ctx, time.Now().Add(t.TTL/4), func() (bool, error) {
		return observer.glance(ctx)
	})
	if err != nil {
		return false, err
	}
	// A third party may see the grant before the service has told A of it: word of that
	// must be on its way while it can still be lost.
	for i := 0; carried && i < toldTrips; i++ {
		if _, err := observer.glance(ctx); err != nil {
			return false, err
		}
	}
	_, _, err = observer.look(ctx, true) // for the record
	return carried, err
}
