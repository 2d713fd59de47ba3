package pause

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	looks []look // at procs, each once it was stopped
	// last is when the latest order to stop had been given. The target runs no
	// instruction of its own after that, though it takes until its next turn on a
	// core to be seen stopped.
	last time.Duration
}

// way is how one process is stopped. ready, order and look are called for several at
// once.
type way interface {
	// ready makes sure that the process can be stopped, and that it runs again
	// whatever happens to this one, and refuses one that is stopped already.
	ready(inject.Process) error
	// order has it stop.
	order(inject.Process) error
	// look reads whether every living thread is stopped.
	look(inject.Process) (look, error)
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
		for _, p := range next {
			seen[p.PID] = true
		}
		spared := func(i int, err error) bool { return errors.Is(err, inject.ErrGone) && (!first || i > 0) }
		ready, err := h.take(next, spared)
		if err != nil {
			return err
		}
		// All orders in one go, so that the first is not stopped long before the last.
		err = inject.Each(len(ready), func(i int) error {
			if err := h.way.order(ready[i]); err != nil && !spared(i, err) {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
		h.last = inject.Now()
		kids, err := h.await(ctx)
		if err != nil {
			return err
		}
		if next, err = fresh(ctx, kids, seen); err != nil {
			return err
		}
	}
	return nil
}

// living forgets what has ended since the last stop, except for the root.
func (h *herd) living() []inject.Process {
	ended := make([]bool, len(h.procs))
	_ = inject.Each(len(h.procs), func(i int) error {
		s, err := inject.ReadStat(h.procs[i].PID)
		ended[i] = i > 0 && (notThere(err) || err == nil && (s.Dead() || s.StartTime != h.procs[i].StartTime))
		return nil
	})
	kept := h.procs[:0:0]
	for i, p := range h.procs {
		if ended[i] {
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

// take claims processes for this plan and makes them ready; once is enough. It
// returns those that are, without the ones whose error is spared.
func (h *herd) take(procs []inject.Process, spared func(i int, err error) bool) ([]inject.Process, error) {
	claimed, err := h.claim(procs)
	if err != nil {
		return nil, err
	}
	ready := make([]bool, len(procs))
	err = inject.Each(len(procs), func(i int) error {
		err := h.way.ready(procs[i])
		if ready[i] = err == nil; err != nil && !spared(i, err) {
			return err
		}
		return nil
	})
	h.fault.mu.Lock()
	defer h.fault.mu.Unlock()
	var out []inject.Process
	for i, p := range procs {
		switch {
		case ready[i] && claimed[i]:
			h.procs = append(h.procs, p)
		case claimed[i]:
			delete(h.fault.owner, p)
		}
		if ready[i] {
			out = append(out, p)
		}
	}
	return out, err
}

// claim notes whose the processes are, and says which were nobody's before.
func (h *herd) claim(procs []inject.Process) ([]bool, error) {
	h.fault.mu.Lock()
	defer h.fault.mu.Unlock()
	for _, p := range procs {
		if other, taken := h.fault.owner[p]; taken && other != h.id {
			return nil, fmt.Errorf("process %d is paused by fault %s: %w", p.PID, other, inject.ErrRefused)
		}
	}
	claimed := make([]bool, len(procs))
	for i, p := range procs {
		_, taken := h.fault.owner[p]
		h.fault.owner[p], claimed[i] = h.id, !taken
	}
	return claimed, nil
}

// await waits until all are stopped and returns the children of the tree: what is
// stopped cannot fork any more.
func (h *herd) await(ctx context.Context) ([]int, error) {
	h.looks = make([]look, len(h.procs))
	kids := make([][]int, len(h.procs))
	err := inject.Each(len(h.procs), func(i int) error {
		p, l := h.procs[i], &h.looks[i]
		err := wait(ctx, func() (ok bool, err error) {
			*l, err = h.way.look(p)
			return l.stopped || l.gone, err
		}, "process %d has threads that do not stop (in uninterruptible sleep, or in a cgroup that is frozen)", p.PID)
		if err == nil && h.undo.Tree && !l.gone {
			kids[i], err = inject.ChildrenOf(ctx, p.PID, l.Stat)
		}
		return err
	})
	return slices.Concat(kids...), err
}

// fresh are those that live and were not seen before.
func fresh(ctx context.Context, pids []int, seen map[int]bool) ([]inject.Process, error) {
	ms, err := visit(ctx, slices.DeleteFunc(pids, func(pid int) bool { return seen[pid] }), false)
	var out []inject.Process
	for _, m := range ms {
		out = append(out, m.Process)
	}
	return out, err
}

// seen counts what was read of each process after the last order to stop.
func (h *herd) seen() (inject.Effect, error) {
	n := 0
	for _, l := range h.looks {
		if l.stopped {
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
