package pause

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// herd is a tree of processes that are stopped one by one.
type herd struct {
	fault *Fault
	id    string
	undo  undo
	way   way
	procs []inject.Process
	// last is when the latest order to stop had been given. The target runs no
	// instruction of its own after that, though it takes until its next turn on a
	// core to be seen stopped.
	last time.Duration
}

// way is how one process is stopped.
type way interface {
	// ready makes sure that the process can be stopped, and that it runs again
	// whatever happens to this one, and refuses one that is stopped already.
	ready(inject.Process) error
	// order has it stop.
	order(inject.Process) error
	// stopped reports whether every living thread is stopped, and whether the
	// process is gone.
	stopped(inject.Process) (stopped, gone bool, err error)
	// resume lets all run that were ordered, and returns when the kernel shows it so.
	resume(context.Context, []inject.Process) (inject.Effect, error)
	// forget closes the handles of one that has ended, close all.
	forget(inject.Process)
	close()
	// words is how a stopped process looks.
	words() string
}

// stop stops the processes of the plan, parents first, and then whatever they
// forked meanwhile, until nothing new appears. A member of the tree that has ended
// is left out; the root is not.
func (h *herd) stop(ctx context.Context) error {
	seen := map[int]bool{}
	next := h.living()
	if len(next) == 0 {
		next = h.undo.Processes
	}
	for first := true; len(next) > 0; first = false {
		fresh := next[:0:0]
		for i, p := range next {
			seen[p.PID] = true
			err := h.take(p)
			if errors.Is(err, inject.ErrGone) && (!first || i > 0) {
				continue
			}
			if err != nil {
				return err
			}
			fresh = append(fresh, p)
		}
		// All orders in one go, so that the first is not stopped long before the last.
		for i, p := range fresh {
			err := h.way.order(p)
			if errors.Is(err, inject.ErrGone) && (!first || i > 0) {
				continue
			}
			if err != nil {
				return err
			}
		}
		h.last = inject.Now()
		for _, p := range h.procs {
			if err := h.await(ctx, p); err != nil {
				return err
			}
		}
		if !h.undo.Tree {
			return nil
		}
		var err error
		if next, err = h.newDescendants(ctx, seen); err != nil {
			return err
		}
	}
	return nil
}

// living forgets what has ended since the last stop, except for the root.
func (h *herd) living() []inject.Process {
	kept := h.procs[:0:0]
	for i, p := range h.procs {
		if s, err := inject.ReadStat(p.PID); i > 0 && (notThere(err) || err == nil && (s.Dead() || s.StartTime != p.StartTime)) {
			h.fault.mu.Lock()
			delete(h.fault.owner, p)
			h.fault.mu.Unlock()
			h.way.forget(p)
			continue
		}
		kept = append(kept, p)
	}
	h.procs = kept
	return kept
}

// take claims a process for this plan and makes it ready; once is enough.
func (h *herd) take(p inject.Process) error {
	h.fault.mu.Lock()
	defer h.fault.mu.Unlock()
	other, taken := h.fault.owner[p]
	if taken && other != h.id {
		return fmt.Errorf("process %d is paused by fault %s: %w", p.PID, other, inject.ErrRefused)
	}
	if err := h.way.ready(p); err != nil {
		return err
	}
	if !taken {
		h.fault.owner[p] = h.id
		h.procs = append(h.procs, p)
	}
	return nil
}

func (h *herd) await(ctx context.Context, p inject.Process) error {
	return wait(ctx, func() (bool, error) {
		stopped, gone, err := h.way.stopped(p)
		return stopped || gone, err
	}, fmt.Sprintf("process %d has threads that do not stop (in uninterruptible sleep, or in a cgroup that is frozen)", p.PID))
}

func (h *herd) newDescendants(ctx context.Context, seen map[int]bool) ([]inject.Process, error) {
	var out []inject.Process
	for _, p := range h.procs {
		kids, err := inject.Children(ctx, p.PID)
		if err != nil {
			return nil, err
		}
		for _, pid := range kids {
			if seen[pid] {
				continue
			}
			if s, err := inject.ReadStat(pid); err == nil && !s.Dead() {
				out = append(out, inject.Process{PID: pid, StartTime: s.StartTime})
			}
		}
	}
	return out, nil
}

// seen looks once more: what was stopped first may have been killed.
func (h *herd) seen() (inject.Effect, error) {
	n := 0
	for _, p := range h.procs {
		switch stopped, _, err := h.way.stopped(p); {
		case err != nil:
			return inject.Effect{}, err
		case stopped:
			n++
		}
	}
	if n == 0 {
		return inject.Effect{}, fmt.Errorf("every process ended: %w", inject.ErrGone)
	}
	return inject.Effect{Seen: fmt.Sprintf("%d of %d processes %s", n, len(h.procs), h.way.words()), Count: n, Since: h.last}, nil
}

func (h *herd) resume(ctx context.Context) (inject.Effect, error) { return h.way.resume(ctx, h.procs) }

func (h *herd) release() {
	h.fault.mu.Lock()
	defer h.fault.mu.Unlock()
	for _, p := range h.procs {
		delete(h.fault.owner, p)
	}
	h.way.close()
}
