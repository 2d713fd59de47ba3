package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

func (k *keeper) prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	_, r, err := k.call(ctx, order{Op: opPrepare, Spec: &s}, patience)
	if err != nil || r.Plan == nil {
		return inject.Plan{}, orBodyless(err)
	}
	return *r.Plan, nil
}

func (k *keeper) inject(ctx context.Context, s inject.Spec) (Fault, error) {
	// A guard that hangs in the middle may have the fault in effect: a short fault
	// allows it less time.
	limit := max(min(s.For+patience/2, patience), 0) + s.Patience
	k.mu.Lock()
	k.slack = max(k.slack, min(s.Patience, inject.MaxPatience))
	k.mu.Unlock()
	g, r, err := k.call(ctx, order{Op: opInject, Spec: &s}, limit)
	if id := leftBy(err); id != "" {
		k.remember(id, ended{err: err}) // unless the guard ends it after all
	}
	if err != nil || r.Fault == nil {
		return Fault{}, orBodyless(err)
	}
	f := *r.Fault
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, over := k.ended[f.ID]; !over { // the notice of its end may have been faster
		k.active[f.ID] = &f
		k.deadman.expect(f.ID, f.Deadline+s.Patience+agentSlack)
		k.expect(g, f.ID, f.Deadline+s.Patience+grace, false)
	}
	return f, nil
}

// allow gives what is about to be ended some time past its deadline, before the
// kernel takes this agent for dead.
func (k *keeper) allow(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.allowLocked(d)
}

func (k *keeper) allowLocked(d time.Duration) {
	for id, f := range k.active {
		k.deadman.expect(id, max(f.Deadline, rawNow()+d)+f.Plan.Spec.Patience+agentSlack)
	}
}

// expect kills the guard if the fault has not been reported ended at an instant
// of CLOCK_MONOTONIC_RAW. If this process itself was held up past it, the report
// may be waiting unread, so it is given one more grace.
func (k *keeper) expect(g *guardProc, id string, at time.Duration, again bool) {
	time.AfterFunc(nap(at-rawNow()), func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		f, on := k.active[id]
		late := rawNow() - at
		switch {
		case !on:
		case late < 0:
			k.expect(g, id, at, again)
		case late > grace/2 && !again:
			k.expect(g, id, rawNow()+grace, true)
		default:
			why := fmt.Sprintf("fault %s not ended %v after its deadline", id, (rawNow() - f.Deadline).Round(time.Millisecond))
			g.kill(why)
		}
	})
}

func (k *keeper) revert(ctx context.Context, id string) (inject.Effect, error) {
	k.mu.Lock()
	e, over := k.ended[id]
	f, on := k.active[id]
	k.mu.Unlock()
	switch {
	case over:
		return e.effect, e.err
	case !on:
		return inject.Effect{}, ErrUnknownFault
	}
	k.allow(patience + grace)
	_, r, err := k.call(ctx, order{Op: opRevert, Fault: id}, patience+grace+f.Plan.Spec.Patience)
	switch {
	case errors.Is(err, ErrUnknownFault), errors.Is(err, ErrGuardLost):
		// It ended by itself meanwhile, or the next guard is ending it.
		return k.awaitEnd(ctx, id)
	case err != nil || r.Effect == nil:
		return inject.Effect{}, orBodyless(err)
	}
	k.remember(id, ended{effect: *r.Effect})
	return *r.Effect, nil
}

func (k *keeper) awaitEnd(ctx context.Context, id string) (inject.Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*(patience+inject.MaxPatience))
	defer cancel()
	for {
		k.mu.Lock()
		e, over := k.ended[id]
		changed := k.changed
		k.mu.Unlock()
		if over {
			return e.effect, e.err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return inject.Effect{}, fmt.Errorf("revert %s: %w: %w", id, ErrRevertFailed, ctx.Err())
		}
	}
}

// watch has the guard end a client's process group should this agent die.
func (k *keeper) watch(p inject.Process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clients = append(k.clients, p)
	if k.cur != nil {
		k.cur.link.post(order{Op: opWatch, Process: &p})
	}
}

// tell has the guard log for whom it works.
func (k *keeper) tell(c Caller) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.caller = &c
	if k.cur != nil {
		k.cur.link.post(order{Op: opCaller, Caller: &c})
	}
}

func (k *keeper) unwatch(p inject.Process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, c := range k.clients {
		if c == p {
			k.clients = append(k.clients[:i], k.clients[i+1:]...)
			return
		}
	}
}

func orBodyless(err error) error {
	if err == nil {
		return errors.New("the guard's answer has no body")
	}
	return err
}
