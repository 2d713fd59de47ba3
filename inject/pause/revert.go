package pause

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Revert resumes what the plan stopped and reads back that it runs. In the
// process that injected the plan, this is exactly what it stopped; in another
// one, what the plan names, and with a tree those descendants that are younger
// than the plan and stopped. What is held by another plan is left alone.
func (f *Fault) Revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) { return inject.Effect{}, fmt.Errorf("revert pause: %w", err) }
	f.mu.Lock()
	h := f.plans[p.ID]
	f.mu.Unlock()
	if h == nil {
		e, err := f.recover(ctx, p)
		if err != nil {
			return fail(err)
		}
		return e, nil
	}
	stops := ""
	if h.stutter != nil {
		stops = h.stutter.end()
	}
	e, err := h.resume(ctx)
	if err != nil {
		return fail(err)
	}
	h.release()
	f.mu.Lock()
	delete(f.plans, p.ID)
	f.mu.Unlock()
	e.Seen = stops + e.Seen
	return e, nil
}

// recover works from the plan alone.
func (f *Fault) recover(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return inject.Effect{}, err
	}
	if err := p.SameBoot(); errors.Is(err, inject.ErrGone) {
		return inject.Effect{Seen: "of an earlier boot, nothing of it exists any more"}, nil
	} else if err != nil {
		return inject.Effect{}, err
	}
	if u.Method == MethodFreezer {
		return thaw(ctx, p.ID, u.Group)
	}
	procs := u.Processes
	if u.Tree {
		more, err := f.strays(ctx, u)
		if err != nil {
			return inject.Effect{}, err
		}
		procs = append(procs, more...)
	}
	var mine []inject.Process
	for _, proc := range procs {
		f.mu.Lock()
		_, other := f.owner[proc]
		f.mu.Unlock()
		if !other {
			mine = append(mine, proc)
		}
	}
	if u.Method == MethodPtrace {
		return untrace(ctx, mine, u.Guard)
	}
	return carryOn(ctx, mine)
}

// carryOn resumes what was stopped by SIGSTOP. The kernel has done so when their
// keeper died; the signal is for the moment before that has happened.
func carryOn(ctx context.Context, procs []inject.Process) (inject.Effect, error) {
	var errs []error
	for _, proc := range procs {
		fd, err := proc.Open()
		if err == nil {
			err = (&signalled{Process: proc, pidfd: fd}).signal(unix.SIGCONT)
			unix.Close(fd)
		}
		if err != nil && !errors.Is(err, inject.ErrGone) {
			errs = append(errs, err)
		}
	}
	e, err := running(ctx, procs, func(p inject.Process) (look, bool, error) {
		l, err := threads(p, true)
		return l, true, err
	})
	return e, errors.Join(append(errs, err)...)
}

// untrace has the guard of the plan let go, if it still lives; the kernel did so
// when it died.
func untrace(ctx context.Context, procs []inject.Process, guard inject.Process) (inject.Effect, error) {
	fd, err := guard.Open()
	if errors.Is(err, inject.ErrGone) {
		return released(ctx, procs, guard.PID)
	}
	if err != nil {
		return inject.Effect{}, err
	}
	unix.Close(fd)
	var errs []error
	for _, p := range procs {
		tracer, err := tracedBy(p.PID, guard.PID)
		if err == nil && tracer != 0 {
			err = ring(guard.PID, tracer)
		}
		if err != nil && !notThere(err) {
			errs = append(errs, fmt.Errorf("process %d is traced by process %d: %w", p.PID, guard.PID, err))
		}
	}
	e, err := released(ctx, procs, guard.PID)
	if err == nil {
		return e, nil // a bell that could not be rung was that of a tracer at its end
	}
	return e, errors.Join(append(errs, err)...)
}

// strays are stopped descendants that were forked after the plan was made.
func (f *Fault) strays(ctx context.Context, u undo) ([]inject.Process, error) {
	var out []inject.Process
	seen := map[int]bool{}
	queue := u.Processes
	for _, p := range queue {
		seen[p.PID] = true
	}
	for ; len(queue) > 0; queue = queue[1:] {
		if s, err := inject.ReadStat(queue[0].PID); err != nil || s.StartTime != queue[0].StartTime {
			continue // gone: the number is not ours to look below
		}
		kids, err := inject.Children(ctx, queue[0].PID)
		if err != nil {
			return nil, err
		}
		for _, pid := range kids {
			s, err := inject.ReadStat(pid)
			if err != nil || seen[pid] || s.StartTime < u.Since {
				continue
			}
			seen[pid] = true
			p := inject.Process{PID: pid, StartTime: s.StartTime}
			queue = append(queue, p)
			if l, err := threads(p, true); err == nil && l.stopped {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// running reads back every process, and returns once those of which see says that
// this fault had stopped them are seen to run, with all of their threads.
func running(ctx context.Context, procs []inject.Process, see func(inject.Process) (l look, ours bool, err error)) (inject.Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, resumeWait)
	defer cancel()
	looks := make([]look, len(procs))
	err := inject.Each(len(procs), func(i int) error {
		return wait(ctx, func() (bool, error) {
			l, ours, err := see(procs[i])
			looks[i] = l
			return l.gone || !l.stopped || !ours, err
		}, "process %d is still in state T", procs[i].PID)
	})
	if err != nil {
		return inject.Effect{}, err
	}
	run, ended, others := 0, 0, 0
	for _, l := range looks {
		switch {
		case l.gone:
			ended++
		case l.stopped:
			others++
		default:
			run++
		}
	}
	e := inject.Effect{Seen: fmt.Sprintf("%d of %d processes run", run, len(procs)), Count: run}
	if ended > 0 {
		e.Seen += fmt.Sprintf(", %d ended", ended)
	}
	if others > 0 {
		e.Seen += fmt.Sprintf(", %d stopped by somebody else and left so", others)
	}
	return e, nil
}

func notThere(err error) bool {
	return errors.Is(err, inject.ErrGone) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
