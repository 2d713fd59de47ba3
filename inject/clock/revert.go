package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/lockaudit/lockaudit/inject"
)

// Revert ends the skew of every process that has this plan's stub, puts their vDSOs
// back and reads them. It looks at all processes that the plan names or that are
// younger than it: whoever was forked under the skew has inherited the stub, also
// if its parent is gone. It needs nothing but the plan.
func (f *Fault) Revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	e, err := f.revert(ctx, p)
	if err != nil {
		return inject.Effect{}, fmt.Errorf("revert clock: %w", err)
	}
	f.mu.Lock()
	delete(f.plans, p.ID)
	f.mu.Unlock()
	return e, nil
}

func (f *Fault) revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return inject.Effect{}, err
	}
	if err := p.SameBoot(); errors.Is(err, inject.ErrGone) {
		return inject.Effect{Seen: "of an earlier boot, nothing of it exists any more"}, nil
	} else if err != nil {
		return inject.Effect{}, err
	}
	own, err := ownImage()
	if err != nil {
		return inject.Effect{}, err
	}
	plan := mark(p)
	f.mu.Lock()
	if h := f.plans[p.ID]; h != nil {
		h.stop()
	}
	f.mu.Unlock()

	done, left := map[inject.Process]bool{}, 0
	for {
		procs, err := carriers(u, own, plan, done)
		if err != nil {
			return inject.Effect{}, err
		}
		if len(procs) == 0 {
			return reverted(len(done), left), nil
		}
		// First the clock, in an instant and without a stop; then the code.
		for _, proc := range procs {
			if err := change(proc, own, plan, neutral()); err != nil && !errors.Is(err, inject.ErrGone) {
				return inject.Effect{}, fmt.Errorf("process %d: %w", proc.PID, err)
			}
		}
		var errs []error
		for _, proc := range procs {
			remains, err := f.restore(ctx, proc, own, plan)
			switch {
			case errors.Is(err, inject.ErrGone):
				continue
			case err != nil:
				errs = append(errs, err)
			case remains:
				left++
			}
			done[proc] = true
		}
		if err := errors.Join(append(errs, ctx.Err())...); err != nil {
			return inject.Effect{}, err
		}
	}
}

func reverted(n, left int) inject.Effect {
	e := inject.Effect{Seen: fmt.Sprintf("%d processes read the right wall clock again, their vDSOs are as they were", n), Count: n}
	switch {
	case n == 0:
		e.Seen = "no process has a skewed clock of this fault"
	case left > 0:
		e.Seen = fmt.Sprintf("%d processes read the right wall clock again; in %d of them the stub remains, unreachable, because a thread might still be in it", n, left)
	}
	return e
}

// carriers lists the processes that have this plan's stub, but for those that are
// done with. It looks at every process again, because the ones that it found before
// may have forked.
func carriers(u undo, own *image, plan uint64, done map[inject.Process]bool) ([]inject.Process, error) {
	named := map[int]inject.Process{}
	for _, p := range u.Processes {
		named[p.PID] = p
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []inject.Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s, err := inject.ReadStat(pid)
		p := inject.Process{PID: pid, StartTime: s.StartTime}
		isNamed := named[pid] == p
		if err != nil || s.Dead() || s.Kernel() || done[p] || !isNamed && s.StartTime < u.Since {
			continue
		}
		has, err := carries(p, own, plan)
		if err != nil && isNamed {
			return nil, err // a stranger that cannot be looked at could not be patched either
		}
		if has {
			out = append(out, p)
		}
	}
	return out, nil
}

// carries looks for the plan's stub. It does not mind what else was changed.
func carries(p inject.Process, own *image, plan uint64) (bool, error) {
	m, err := openMemory(p, false)
	if errors.Is(err, inject.ErrGone) || errors.Is(err, inject.ErrUnsupported) && !errors.Is(err, os.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer m.close()
	area, err := m.read(own.area, len(own.stub))
	if errors.Is(err, inject.ErrGone) {
		return false, nil
	}
	return err == nil && own.isStub(area) && le.Uint64(area[stubPlan:]) == plan, err
}
