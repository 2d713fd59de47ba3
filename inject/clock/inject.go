package clock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// Inject patches the processes of the plan, parents first, and then whatever they
// forked meanwhile without the patch, until nothing new appears. It returns when it
// has read back every one. A member of the tree that has ended, or cannot be
// patched, is left out; the root is not.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) { return inject.Effect{}, fmt.Errorf("inject clock: %w", err) }
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return fail(err)
	}
	if err := p.SameBoot(); err != nil {
		return fail(err)
	}
	own, err := ownImage()
	if err != nil {
		return fail(err)
	}
	protected, err := inject.NewProtected()
	if err != nil {
		return fail(err)
	}
	since := inject.Now()
	h := &held{undo: u, expires: monotonicNow() + int64(p.Spec.For), procs: map[int]inject.Process{}, stop: func() {}}
	f.mu.Lock()
	if f.plans[p.ID] != nil {
		f.mu.Unlock()
		return fail(fmt.Errorf("plan %q is in effect: %w", p.ID, inject.ErrRefused))
	}
	f.plans[p.ID] = h
	f.mu.Unlock()

	skew := u.Skew.raw(h.expires, time.Now())
	tried := map[int]bool{}
	for next := u.Processes; len(next) > 0; {
		patched := 0
		for _, proc := range next {
			root := len(tried) == 0
			tried[proc.PID] = true
			inherited, err := f.patch(ctx, proc, own, mark(p), skew)
			switch {
			case err == nil:
				h.procs[proc.PID] = proc
				if !inherited {
					patched++
				}
			case root, !errors.Is(err, inject.ErrGone) && !errors.Is(err, inject.ErrUnsupported):
				return fail(err)
			}
		}
		next = nil
		if !u.Tree || patched == 0 {
			break // whoever is forked from now on inherits the stub
		}
		for _, proc := range h.procs {
			kids, err := inject.Children(ctx, proc.PID)
			if err != nil {
				return fail(err)
			}
			for _, pid := range kids {
				s, err := inject.ReadStat(pid)
				if tried[pid] || err != nil || s.Dead() || protected.Refuse(pid, s) != nil {
					continue
				}
				next = append(next, inject.Process{PID: pid, StartTime: s.StartTime})
			}
		}
	}
	e, err := f.seen(h, own, mark(p))
	if err != nil {
		return fail(err)
	}
	e.Since = since
	if u.Skew.Strobe > 0 {
		h.stop = f.strobe(h, own, mark(p))
	}
	return e, nil
}

// seen reads back every process once more; one that has ended or executed another
// program since does not count.
func (f *Fault) seen(h *held, own *image, plan uint64) (inject.Effect, error) {
	n := 0
	for _, proc := range h.procs {
		if wears(proc, own, plan) {
			n++
		}
	}
	if n == 0 {
		return inject.Effect{}, fmt.Errorf("every process ended: %w", inject.ErrGone)
	}
	return inject.Effect{Seen: fmt.Sprintf("%d of %d processes read their wall clock through the stub: %s", n, len(h.procs), h.undo.Skew), Count: n}, nil
}

// Change puts another skew into force, for the rest of the plan's time. Nothing is
// stopped for it.
func (f *Fault) Change(ctx context.Context, p inject.Plan, s Skew) error {
	fail := func(err error) error { return fmt.Errorf("change clock: %w", err) }
	if err := s.validate(time.Now()); err != nil {
		return fail(err)
	}
	own, err := ownImage()
	if err != nil {
		return fail(err)
	}
	f.mu.Lock()
	h := f.plans[p.ID]
	f.mu.Unlock()
	if h == nil {
		return fail(fmt.Errorf("plan %q is not in effect here: %w", p.ID, inject.ErrRefused))
	}
	if err := h.change(ctx, own, mark(p), s.raw(h.expires, time.Now())); err != nil {
		return fail(err)
	}
	return nil
}

// change writes the record to every process of the plan, also to those that were
// forked since and inherited the stub.
func (h *held) change(ctx context.Context, own *image, plan uint64, r raw) error {
	var errs []error
	seen := map[int]bool{}
	var queue []inject.Process
	for _, p := range h.procs {
		queue = append(queue, p)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		p := queue[0]
		if seen[p.PID] {
			continue
		}
		seen[p.PID] = true
		if err := change(p, own, plan, r); err != nil && !errors.Is(err, inject.ErrGone) && !errors.Is(err, inject.ErrUnsupported) {
			errs = append(errs, fmt.Errorf("process %d: %w", p.PID, err))
			continue
		}
		if !h.undo.Tree {
			continue
		}
		kids, err := inject.Children(ctx, p.PID)
		errs = append(errs, err)
		for _, pid := range kids {
			if s, err := inject.ReadStat(pid); err == nil && !s.Dead() {
				queue = append(queue, inject.Process{PID: pid, StartTime: s.StartTime})
			}
		}
	}
	return errors.Join(errs...)
}

// strobe takes the skew away and puts it back until it is stopped. If this process
// dies, what is in force then stays until the lease ends.
func (f *Fault) strobe(h *held, own *image, plan uint64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(h.undo.Skew.Strobe)
		defer tick.Stop()
		for on := true; ; on = !on {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			r := neutral()
			if !on {
				r = h.undo.Skew.raw(h.expires, time.Now())
			}
			// What fails here (the target has ended) shows at the revert.
			_ = h.change(ctx, own, plan, r)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
