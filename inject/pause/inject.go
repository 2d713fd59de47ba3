package pause

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// held is what this process has stopped for one plan.
type held struct {
	targets []*signalled
	// last is when the latest stop signal had been sent. The target runs no
	// instruction of its own after that, though it takes until its next turn on a
	// core to be seen in state T.
	last time.Duration
}

// Inject stops the processes of the plan, parents first, and then whatever they
// forked meanwhile, until nothing new appears. It returns when every thread is in
// state T. A member of the tree that has ended is left out; the root is not.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) { return inject.Effect{}, fmt.Errorf("inject pause: %w", err) }
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return fail(err)
	}
	if err := p.SameBoot(); err != nil {
		return fail(err)
	}
	h := &held{}
	f.mu.Lock()
	if f.plans[p.ID] != nil {
		f.mu.Unlock()
		return fail(fmt.Errorf("plan %q is in effect: %w", p.ID, inject.ErrRefused))
	}
	f.plans[p.ID] = h // from the first signal on, Revert knows it
	f.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	seen := map[int]bool{}
	next := u.Processes
	for first := true; len(next) > 0; first = false {
		for i, proc := range next {
			seen[proc.PID] = true
			err := f.stop(p.ID, h, proc)
			if errors.Is(err, inject.ErrGone) && (!first || i > 0) {
				continue
			}
			if err != nil {
				return fail(err)
			}
		}
		for _, t := range h.targets {
			if err := t.waitStopped(ctx); err != nil {
				return fail(err)
			}
		}
		if !u.Tree {
			break
		}
		if next, err = newDescendants(ctx, h, seen); err != nil {
			return fail(err)
		}
	}
	return stoppedEffect(h)
}

func newDescendants(ctx context.Context, h *held, seen map[int]bool) ([]inject.Process, error) {
	var out []inject.Process
	for _, t := range h.targets {
		kids, err := inject.Children(ctx, t.PID)
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

// stop claims, wires and signals one process.
func (f *Fault) stop(id string, h *held, p inject.Process) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if other, taken := f.owner[p]; taken {
		return fmt.Errorf("process %d is paused by fault %s: %w", p.PID, other, inject.ErrRefused)
	}
	t, err := wire(p)
	if err != nil {
		return err
	}
	s, err := inject.ReadStat(p.PID)
	if err == nil && s.Stopped() {
		err = fmt.Errorf("process %d (%s) is stopped already: %w", p.PID, s.Comm, inject.ErrRefused)
	}
	if err == nil {
		err = t.signal(unix.SIGSTOP)
	}
	if err != nil {
		t.close()
		return err
	}
	h.last = inject.Now()
	f.owner[p] = id
	h.targets = append(h.targets, t)
	return nil
}

// stoppedEffect looks once more: what was stopped first may have been killed.
func stoppedEffect(h *held) (inject.Effect, error) {
	n := 0
	for _, t := range h.targets {
		switch stopped, _, err := t.state(); {
		case err != nil:
			return inject.Effect{}, fmt.Errorf("inject pause: %w", err)
		case stopped:
			n++
		}
	}
	if n == 0 {
		return inject.Effect{}, fmt.Errorf("inject pause: every process ended: %w", inject.ErrGone)
	}
	return inject.Effect{Seen: fmt.Sprintf("%d of %d processes in state T", n, len(h.targets)), Count: n, Since: h.last}, nil
}

// ticksNow is the time since boot in clock ticks, as field 22 counts it. Linux
// shows USER_HZ = 100 to programs on every architecture that Go runs on.
func ticksNow() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // then every descendant counts as ours, the safe side
	}
	return uint64(time.Duration(ts.Nano()) / (10 * time.Millisecond))
}
