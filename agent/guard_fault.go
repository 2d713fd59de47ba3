package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"
)

// held is a fault that the guard has in effect.
type held struct {
	mu    sync.Mutex // one method of the fault at a time
	kind  inject.Fault
	fault Fault
	timer *timer
	over  bool
}

func (g *guard) prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	k, ok := g.kinds[s.Kind]
	if !ok {
		return inject.Plan{}, fmt.Errorf("prepare: no fault of the kind %q: %w", s.Kind, inject.ErrUnsupported)
	}
	if s.For <= 0 {
		return inject.Plan{}, fmt.Errorf("prepare %s: a deadline is mandatory, for is %v: %w", s.Kind, s.For, inject.ErrRefused)
	}
	if s.Patience < 0 || s.Patience > inject.MaxPatience {
		return inject.Plan{}, fmt.Errorf("prepare %s: a patience of %v, at most %v: %w", s.Kind, s.Patience, inject.MaxPatience, inject.ErrRefused)
	}
	if err := g.limits.permit(s); err != nil {
		return inject.Plan{}, err
	}
	return k.Prepare(ctx, s)
}

// inject goes through the steps of every fault: prepare, journal, log, inject. After
// a failure nothing of it is left, or the error is ErrRevertFailed.
func (g *guard) inject(ctx context.Context, s inject.Spec) (_ Fault, err error) {
	var admitted *held
	defer func() { g.log.injected(s, admitted, err) }()
	if err := g.permits(); err != nil {
		return Fault{}, err
	}
	g.mu.Lock()
	dirty := g.dirty
	g.mu.Unlock()
	if dirty != nil {
		return Fault{}, dirty
	}
	p, err := g.prepare(ctx, s)
	if err != nil {
		return Fault{}, err
	}
	if p.ID, err = newID(); err != nil {
		return Fault{}, err
	}
	if err := g.journal.write(p); err != nil {
		return Fault{}, err
	}
	h := &held{kind: g.kinds[s.Kind], fault: Fault{ID: p.ID, Plan: p}}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := g.admit(h); err != nil {
		return Fault{}, errors.Join(err, g.journal.remove(p.ID))
	}
	admitted = h

	g.repose.lock()
	// Stopped in the middle of the injection, it may have the fault in effect.
	g.deadman.expect(p.ID, rawNow()+s.For+patience+s.Patience+guardSlack)
	h.fault.Effect, err = h.kind.Inject(ctx, p)
	h.fault.InjectedAt = h.fault.Effect.Since
	if h.fault.InjectedAt == 0 {
		h.fault.InjectedAt = rawNow()
	}
	h.fault.Deadline = h.fault.InjectedAt + s.For
	if err != nil {
		_, undo := g.end(context.WithoutCancel(ctx), h, whyUndo)
		return Fault{}, errors.Join(err, undo)
	}
	g.deadman.expect(p.ID, h.fault.Deadline+s.Patience+guardSlack)
	h.timer = g.timers.set(h.fault.Deadline, func() { g.expire(h) })
	g.journal.step("injected")
	return h.fault, nil
}

// expire runs on the timer thread. What waits for programs of others, touches the
// disk, failed, or is in the middle of a slow revert already, goes on elsewhere:
// another deadline may be due.
func (g *guard) expire(h *held) {
	if h.fault.Plan.Spec.Patience == 0 && h.mu.TryLock() {
		g.expireNow(h)
		return
	}
	go func() {
		h.mu.Lock()
		g.expireNow(h)
	}()
}

// expireNow unlocks h.mu, which the caller has locked.
func (g *guard) expireNow(h *held) {
	if h.over {
		h.mu.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace/2+h.fault.Plan.Spec.Patience)
	e, err := h.kind.Revert(ctx, h.fault.Plan)
	cancel()
	g.log.ended(h.fault.Plan, trail.Expire, "deadline", e.Seen, err)
	if err != nil {
		// Not reported as ended: the agent kills this guard after the grace, the
		// kernel undoes what it can, and the next guard reverts from the journal.
		h.fault.Err = err.Error()
		h.mu.Unlock()
		return
	}
	// Said before the journal is cleaned: a slow disk is not a missed deadline, and
	// an entry left over is only reverted again.
	g.notice(NoticeReverted, h.fault.ID, "deadline", e)
	go func() {
		defer h.mu.Unlock()
		if err := g.settle(h); err != nil {
			g.soil(fmt.Errorf("fault %s is reverted but remains in the journal: %w", h.fault.ID, err))
		}
	}()
}

// soil refuses further faults: the journal cannot be trusted to hold them.
func (g *guard) soil(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dirty = errors.Join(g.dirty, err)
}

func (g *guard) notice(k NoticeKind, id, why string, e inject.Effect) {
	_ = g.out.send(message{Event: eventNotice, Notice: &Notice{Kind: k, FaultID: id, Why: why, Effect: &e}})
}

func (g *guard) revert(ctx context.Context, id string) (inject.Effect, error) {
	g.mu.Lock()
	h := g.active[id]
	g.mu.Unlock()
	if h == nil {
		return inject.Effect{}, ErrUnknownFault
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return inject.Effect{}, ErrUnknownFault // its notice is on the way
	}
	return g.end(context.WithoutCancel(ctx), h, whyOrder)
}

// end reverts, verifies and forgets; the caller holds h.mu.
func (g *guard) end(ctx context.Context, h *held, why string) (e inject.Effect, err error) {
	defer func() { g.log.ended(h.fault.Plan, trail.Revert, why, e.Seen, err) }()
	limit := patience + h.fault.Plan.Spec.Patience
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A revert may take its time, also past the deadline.
	g.deadman.expect(h.fault.ID, max(h.fault.Deadline, rawNow()+limit)+guardSlack)
	e, err = h.kind.Revert(ctx, h.fault.Plan)
	if err == nil {
		err = g.settle(h)
	}
	if err != nil {
		h.fault.Err = err.Error()
		return e, &remains{h.fault.ID, err}
	}
	return e, nil
}

// settle forgets a fault whose revert was read back.
func (g *guard) settle(h *held) error {
	g.deadman.met(h.fault.ID) // before the disk, which may be slow
	g.journal.step("reverted")
	g.timers.stop(h.timer)
	if err := g.journal.remove(h.fault.ID); err != nil {
		return err
	}
	h.over = true
	g.mu.Lock()
	delete(g.active, h.fault.ID)
	g.mu.Unlock()
	g.repose.soon()
	return nil
}

// revertAll ends every fault at once; one failure does not stop the others.
func (g *guard) revertAll(ctx context.Context, why string) error {
	g.mu.Lock()
	all := make([]*held, 0, len(g.active))
	for _, h := range g.active {
		all = append(all, h)
	}
	g.mu.Unlock()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, h := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.over {
				return
			}
			var e inject.Effect
			if e, errs[i] = g.end(ctx, h, why); errs[i] == nil {
				g.notice(NoticeReverted, h.fault.ID, why, e)
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

func newID() (string, error) {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make fault id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
