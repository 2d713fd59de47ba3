// Package pause stops a process tree as a long garbage collection or a suspended
// machine stops it: with SIGSTOP, by ptrace, or a whole systemd unit or container
// by the freezer of its cgroup.
//
// It is not exactly that: after the resume, epoll_wait and friends return EINTR,
// and CLOCK_MONOTONIC has run on (in a suspended machine it has not).
//
// A stopped process would stay stopped for ever if whoever stopped it died. With
// SIGSTOP each one is tied to a pipe by which the kernel itself resumes it when
// this process is gone; see wire. What is traced runs on when its tracer dies. The
// freezer outlives everybody: a frozen cgroup bears the plan's mark, and whoever
// recovers the journal thaws it.
package pause

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// Kind is the word for this fault in an order.
const Kind = "pause"

// Fault is the pause. The zero value is not ready; use New.
type Fault struct {
	mu    sync.Mutex
	plans map[string]*held          // by plan id
	owner map[inject.Process]string // which plan has stopped it
}

// New returns a pause that holds nothing yet.
func New() *Fault {
	return &Fault{plans: map[string]*held{}, owner: map[inject.Process]string{}}
}

// Kind is "pause".
func (*Fault) Kind() string { return Kind }

// Prepare finds the processes and refuses what must not be stopped.
func (f *Fault) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	fail := func(err error) (inject.Plan, error) { return inject.Plan{}, fmt.Errorf("prepare pause: %w", err) }
	if s.For <= 0 {
		return fail(fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused))
	}
	p, err := decodeParams(s.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	if p.Period > s.For {
		return fail(fmt.Errorf("params: a period of %v in a fault of %v: %w", p.Period, s.For, inject.ErrRefused))
	}
	boot, err := inject.BootID()
	if err != nil {
		return fail(err)
	}
	plan := inject.Plan{Spec: s, BootID: boot}
	u := undo{Method: p.Method, Tree: p.Tree == nil || *p.Tree, Since: ticksNow()}
	if p.Method == MethodFreezer {
		err = prepareFreezer(ctx, p, &u, &plan)
	} else {
		err = prepareTree(ctx, p, &u, &plan)
	}
	if err != nil {
		return fail(err)
	}
	if p.Period > 0 {
		plan.Objects = append(plan.Objects, fmt.Sprintf("stopped for %v of every %v", p.still(), p.Period))
	}
	if plan.Undo, err = json.Marshal(u); err != nil {
		return fail(err)
	}
	return plan, nil
}

func prepareTree(ctx context.Context, p Params, u *undo, plan *inject.Plan) error {
	if !p.Target.IsZero() {
		t, err := target.Resolve(ctx, p.Target)
		if err != nil {
			return err
		}
		p.PID, p.StartTime = t.PID, t.StartTime
	}
	ps, err := members(ctx, p, u.Tree)
	if err != nil {
		return err
	}
	protected, err := inject.NewProtected()
	if err != nil {
		return err
	}
	allowed, act := signallable, ": SIGSTOP"
	if p.Method == MethodPtrace {
		allowed, act = traceable, ": stopped by ptrace"
		if u.Guard, err = self(); err != nil {
			return err
		}
	}
	var taken []member
	for i, m := range ps {
		err := stoppable(m, protected)
		if err == nil {
			err = allowed(m)
		}
		if i > 0 && errors.Is(err, inject.ErrGone) {
			continue // a descendant that was short
		}
		if err != nil {
			return err
		}
		taken = append(taken, m)
		u.Processes = append(u.Processes, m.Process)
	}
	first := taken[:min(len(taken), mostWords)]
	var rest pidList
	for _, m := range taken[len(first):] {
		rest = append(rest, m.PID)
	}
	plan.Objects = words(first, rest, act)
	return nil
}

// self names this process.
func self() (inject.Process, error) {
	s, err := inject.ReadStat(os.Getpid())
	return inject.Process{PID: os.Getpid(), StartTime: s.StartTime}, err
}
