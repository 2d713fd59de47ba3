package probes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// Limits of a trial with two sides: for how long they ask for the lock. That
// neither gets it is an answer where links are broken in odd ways, and none where
// the question is who does the work.
const (
	settleLimit = 6 * time.Second
	workLimit   = 20 * time.Second
	healLimit   = 30 * time.Second
	// tryLimit bounds one attempt during it: what was sent to a leader that is
	// lost is never answered.
	tryLimit = 2 * time.Second
)

// sidesLimit is the longest that such a partition may have to last.
func sidesLimit(p Params) time.Duration { return healLimit + p.TTL + 2*callLimit }

// takeSides makes each client's node and the servers of the other side deaf to
// each other, and starts the clients anew, so that they are connected to their own
// side and wait for nothing else.
func (t *Trial) takeSides(ctx context.Context, c *cuts, members []member, s shape) (a, b *party, err error) {
	deaf := map[string][]string{}
	for _, side := range []struct {
		node  string
		reach []int
	}{{t.NodeA, s.a}, {t.NodeB, s.b}} {
		own, err := t.Stage.Addresses(ctx, side.node)
		if err != nil {
			return nil, nil, err
		}
		far := others(len(members), side.reach)
		deaf[side.node] = append(deaf[side.node], addrs(members, far)...)
		for _, i := range far {
			deaf[members[i].node] = append(deaf[members[i].node], own...)
		}
	}
	if err := c.deafen(ctx, deaf, sidesLimit(t.Params)); err != nil {
		return nil, nil, err
	}
	if a, err = t.restartCutOff(ctx, "a"); err != nil {
		return nil, nil, err
	}
	if b, err = t.restartCutOff(ctx, "b"); err != nil {
		return nil, nil, err
	}
	return a, b, nil
}

// restartCutOff is restart while servers are cut off or down. A client may be unable to
// start there until the service has failed over, so that it is given the time for that.
// One that never starts says something about this trial and nothing about the next probe:
// it is no reason to end the audit.
func (t *Trial) restartCutOff(ctx context.Context, name string) (p *party, err error) {
	t.Progress("starting client "+name, time.Now().Add(workLimit))
	started, ended := poll(ctx, time.Now().Add(workLimit), func() (bool, error) {
		p, err = t.restart(ctx, name)
		if err != nil && !errors.Is(err, ErrNoClient) {
			return false, err
		}
		return err == nil, nil
	})
	switch {
	case ended != nil:
		return nil, ended
	case !started:
		return nil, fmt.Errorf("client %s does not start within %s while servers are cut off: %w: %s", name, workLimit, errOutcome, err.Error())
	}
	return p, nil
}

// part puts the shape itself into effect, between the servers.
func (t *Trial) part(ctx context.Context, c *cuts, members []member, s shape) error {
	deaf := map[string][]string{}
	for i, from := range s.deaf {
		if len(from) > 0 {
			deaf[members[i].node] = addrs(members, from)
		}
	}
	return c.deafen(ctx, deaf, sidesLimit(t.Params))
}

// deafen drops, on each node, what arrives from the peers: where both ends of a
// link have an agent, that is what a cut of the link looks like from both.
func (c *cuts) deafen(ctx context.Context, deaf map[string][]string, limit time.Duration) error {
	var (
		mu   sync.Mutex
		errs []error
		all  sync.WaitGroup
	)
	made := make(chan openCut, len(deaf))
	for node, peers := range deaf {
		if len(peers) == 0 {
			continue
		}
		all.Go(func() {
			one := &cuts{t: c.t}
			err := one.cut(ctx, node, node, Cut{Peers: peers, Direction: "in", For: limit})
			for _, o := range one.open {
				made <- o
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	close(made)
	for o := range made {
		c.open = append(c.open, o)
	}
	return errors.Join(errs...)
}

// compete has both clients try to acquire until each has a definite answer. A
// client without one is given up half a lease after the other was granted the
// lock: it has then tried while the other certainly held. granted runs for each
// that gets the lock, at once.
func (t *Trial) compete(ctx context.Context, limit time.Duration, parties []*party, granted func(*party)) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range parties {
		all.Go(func() {
			if !p.settle(ctx) {
				return
			}
			granted(p)
			enough := time.AfterFunc(t.TTL/2, cancel)
			context.AfterFunc(ctx, func() { enough.Stop() })
		})
	}
	all.Wait()
}

// settle tries to acquire until the service says yes or no.
func (p *party) settle(ctx context.Context) (granted bool) {
	retry := time.NewTicker(10 * pollEvery)
	defer retry.Stop()
	for {
		switch p.attempt(ctx, 0, tryLimit).Type {
		case history.OK:
			return true
		case history.Fail:
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-retry.C:
		}
	}
}

// parted is bit, unless both sides were granted the lock: whatever was cut, they were.
func (c *cuts) parted(a, b *party) error {
	if !a.hold.Token.IsZero() && !b.hold.Token.IsZero() {
		return nil
	}
	return c.bit()
}

// servesAgain waits until the healed lock service answers the observer, by whichever
// of its servers: clients ask these in turn, and one that was cut off takes its time
// to come back. The observer is started anew: its own connections that were cut come
// back when their next retransmission is due, which says nothing about the service.
func (t *Trial) servesAgain(ctx context.Context) error {
	observer, err := t.restartCutOff(ctx, "observer")
	if err != nil {
		return err
	}
	if err := observer.untilServing(ctx, 2*max(1, len(t.Stage.LockNodes()))); err != nil {
		return err
	}
	if _, _, err := observer.look(ctx, true); err != nil { // the record shows when that was
		return err
	}
	return t.everyServer(ctx)
}

// untilServing waits until the lock service answers this party that many times in a
// row.
func (p *party) untilServing(ctx context.Context, times int) error {
	var last error
	p.t.Progress("waiting for the lock service", time.Now().Add(healLimit))
	serving, err := poll(ctx, time.Now().Add(healLimit), func() (bool, error) {
		for range times {
			lookCtx, cancel := context.WithTimeout(ctx, tryLimit)
			_, _, last = p.look(lookCtx, false)
			cancel()
			if last != nil {
				return false, nil
			}
		}
		return true, nil
	})
	if err == nil && !serving {
		err = fmt.Errorf("wait for the lock service: %w", last)
	}
	return err
}
