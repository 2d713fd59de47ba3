package probes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// observed is a trial of the five steps on an application that runs as it always does.
// A is whoever holds the lock, and B whoever takes it next.
type observed struct {
	t       *Trial
	watch   *holderWatch
	a, b    Instance
	actors  map[string]string // of instances by their ID
	others  int
	pauseID string
	shadow  *cuts
	// since is the sight of the hold that A loses, and lastOfB the id of the one that B has.
	since   sight
	lastOfB string
}

func observedSteps(ctx context.Context, t *Trial) (err error) {
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return err
	}
	o := &observed{t: t, watch: &holderWatch{t: t, observer: observer}, actors: map[string]string{}, shadow: &cuts{t: t}}
	for _, node := range t.Observe.Nodes { // reached before they are needed at once
		if _, err := t.Stage.Addresses(ctx, node); err != nil {
			return err
		}
	}
	if err := o.effects(ctx); err != nil {
		return err
	}
	t.step("1 wait until the application holds the lock")
	if err := o.findA(ctx); err != nil {
		return err
	}
	defer t.unwatched("a", "b")
	defer func() { err = errors.Join(err, o.letGo(ctx)) }()
	t.step("2 pause A, the process that holds it")
	if err := o.stopA(ctx); err != nil {
		return err
	}
	t.step("3 expire lease, wait until another instance takes the lock")
	if err := o.findB(ctx); err != nil {
		return err
	}
	t.step("4 resume A")
	if err := o.resume(ctx); err != nil {
		return err
	}
	if err := o.watchLate(ctx); err != nil {
		return err
	}
	if err := o.letGo(ctx); err != nil || t.Observe.AllowHarm || !t.Observe.Canary {
		return err
	}
	t.step("5 try the same on a canary row")
	return t.lateOnCanary(ctx)
}

// findA waits for a holder whose process can be found, and records that it holds.
func (o *observed) findA(ctx context.Context) error {
	t := o.t
	t.Progress("waiting for the application to take the lock", time.Now().Add(t.Observe.TakeWithin))
	held := false
	var several error
	s, ok, err := o.watch.until(ctx, t.Observe.TakeWithin, func(s sight) (bool, error) {
		held = held || s.held
		if !s.held || several != nil && !o.watch.fresh {
			return false, nil // whom the last look did not tell apart the next renewal may
		}
		o.since, several = s, nil
		in, err := o.watch.resolve(ctx, s)
		if errors.Is(err, ErrSeveral) {
			several = err
			return false, nil
		}
		o.a = in
		return err == nil, err
	})
	switch {
	case err != nil:
		return err
	case !ok && several != nil:
		return fmt.Errorf("%w: whose lock it is could not be told within %s: %w", ErrSkip, t.Observe.TakeWithin, several)
	case !ok && !held:
		return fmt.Errorf("%w: nobody took %s within %s", ErrSkip, t.RealKey, t.Observe.TakeWithin)
	case !ok:
		return fmt.Errorf("%w: the holder of %s changed too quickly to be found", ErrPremise, t.RealKey)
	}
	o.caught(s)
	if !t.Observe.AllowHarm {
		return t.unrecorded()
	}
	// A resource that compares for equality needs a write of A to compare with.
	_, err = poll(ctx, time.Now().Add(t.TTL), func() (bool, error) {
		seen, err := o.seen(ctx)
		return slices.Contains(seen, "a"), err
	})
	return errors.Join(err, t.unrecorded())
}

// caught records that A was found, and that it holds.
func (o *observed) caught(s sight) {
	o.since = s
	o.actors[o.a.ID()] = "a"
	// As of the first look: a judge takes what an actor did before for another party's.
	o.t.record(history.Event{Actor: "a", Node: o.a.Node(), Op: history.OpStart, Type: history.OK, Step: o.a.String(), At: s.began})
	o.t.grant(o.watch.observer, "a", o.a, s)
}

// stopA pauses A, makes sure that it was caught with the lock, and cuts it off from the
// resource while it stands still.
func (o *observed) stopA(ctx context.Context) (err error) {
	t := o.t
	if o.pauseID, err = t.pause(ctx, "a", o.a.Node(), o.a, pauseLimit(t.Params)); err != nil {
		return err
	}
	s, err := o.watch.look(ctx)
	if err != nil {
		return err
	}
	if s.id != o.since.id {
		return fmt.Errorf("%w: A gave the lock back before it was paused", ErrPremise)
	}
	if t.renewed(o.since, s) {
		since := s.asked + s.left - t.ttl(s)
		t.record(history.Event{
			Actor: "a", Node: o.a.Node(), Op: history.OpRenew, Type: history.OK, Key: t.RealKey, At: s.heard,
			Grant: &history.Grant{TTL: t.ttl(s), Since: &since},
		})
	}
	o.since = s
	if t.Observe.AllowHarm {
		return nil
	}
	return o.shadow.cut(ctx, o.a.Node(), "a", o.offResource(shadowLimit(t.Params)))
}

// offResource cuts A off from the resource, and resets what it has sent before that ends.
func (o *observed) offResource(limit time.Duration) Cut {
	return Cut{Peers: o.t.ResourcePeers, Ports: o.t.ResourcePorts, For: limit, Instance: o.a, Sever: true}
}

// findB waits until the service names A no more, and then until it names somebody else.
func (o *observed) findB(ctx context.Context) error {
	t := o.t
	if o.since.left > 0 {
		t.Progress("waiting for the lease to expire", time.Now().Add(o.since.left))
	}
	renewed := false
	wait := max(t.TTL, t.ttl(o.since)) + leaseSlack(t.TTL)
	s, ok, err := o.watch.until(ctx, wait, func(s sight) (bool, error) {
		renewed = t.renewed(o.since, s)
		return renewed || s.id != o.since.id, nil
	})
	switch {
	case err != nil:
		return err
	case renewed:
		return fmt.Errorf("%w: the lease of A was renewed while A and its children stood still: a process outside of %s renews it, and the lock of a worker that is stuck never ends", errOutcome, o.a)
	case !ok:
		return fmt.Errorf("%w: A still holds the lock %s after it was paused", errOutcome, wait)
	}
	t.seenHolder(o.watch.observer, s)
	if !s.held {
		limit := t.takeover()
		t.Progress("waiting for another instance to take the lock", time.Now().Add(limit))
		if s, ok, err = o.watch.until(ctx, limit, func(s sight) (bool, error) { return s.held, nil }); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: no other instance took %s within %s after A's lease was over", ErrSkip, t.RealKey, limit)
		}
	}
	in, err := o.watch.resolve(ctx, s)
	switch {
	case err != nil && !errors.Is(err, ErrSkip) && !errors.Is(err, ErrSeveral):
		return err
	case err == nil:
		o.b, o.actors[in.ID()] = in, "b"
	}
	o.lastOfB = s.id
	t.grant(o.watch.observer, "b", o.b, s)
	if t.Observe.Effects == "" {
		return t.unrecorded()
	}
	// Only what A does after B's work is late.
	worked := false
	t.Progress("waiting for B to write", time.Now().Add(t.takeover()))
	_, err = poll(ctx, time.Now().Add(t.takeover()), func() (bool, error) {
		seen, err := o.seen(ctx)
		worked = worked || slices.Contains(seen, "b")
		return worked, err
	})
	return errors.Join(err, t.unrecorded())
}

// resume ends the pause, once.
func (o *observed) resume(ctx context.Context) error {
	id := o.pauseID
	if id == "" {
		return nil
	}
	o.pauseID = ""
	return o.t.resume(ctx, "a", o.a.Node(), o.a, id)
}

// watchLate looks what A does with a lock that it has lost: whether it tries to write,
// ends, or does nothing for as long as it is watched.
func (o *observed) watchLate(ctx context.Context) error {
	t := o.t
	limit := t.watchLate()
	t.Progress("watching what A does now", time.Now().Add(limit))
	_, err := poll(ctx, time.Now().Add(limit), func() (bool, error) {
		tried, err := o.late(ctx)
		if tried {
			return true, err
		}
		// What cannot be looked at any more may have ended.
		if alive, gone := o.a.Alive(ctx); gone == nil && !alive {
			t.record(history.Event{Actor: "a", Node: o.a.Node(), Op: history.OpExit, Type: history.Info})
			return true, nil
		}
		return false, err
	})
	return errors.Join(err, t.unrecorded())
}

// late looks for a write of A: one that has arrived, or one that was kept off.
func (o *observed) late(ctx context.Context) (bool, error) {
	if !o.t.Observe.AllowHarm {
		return o.tried(ctx)
	}
	effects, err := o.t.Stage.Effects(ctx)
	if err != nil {
		return false, err
	}
	// What A writes when B has given the lock back it may have the right to.
	s, err := o.watch.look(ctx)
	if err != nil || s.id != o.lastOfB {
		return err == nil, err
	}
	return slices.Contains(o.record(effects), "a"), nil
}

// tried looks for what A has sent towards the resource, and records it.
func (o *observed) tried(ctx context.Context) (bool, error) {
	unsent, err := o.a.Unsent(ctx)
	if err != nil || len(unsent) == 0 {
		return false, err
	}
	e := history.Event{Actor: "a", Node: o.a.Node(), Op: history.OpAttempt, Type: history.Invoke}
	invoke := o.t.record(e)
	e.Type, e.Call, e.Err = history.OK, invoke.Seq, unsent[0]
	o.t.record(e)
	return true, o.t.unrecorded()
}
