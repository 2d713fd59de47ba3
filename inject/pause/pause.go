// Package pause stops a process tree with SIGSTOP, as a long garbage collection
// or a suspended machine stops it.
//
// It is not exactly that: after the resume, epoll_wait and friends return EINTR,
// and CLOCK_MONOTONIC has run on (in a suspended machine it has not).
//
// A stopped process would stay stopped for ever if whoever stopped it died.
// Therefore each one is tied to a pipe by which the kernel itself resumes it when
// this process is gone; see wire.
package pause

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// Kind is the word for this fault in an order.
const Kind = "pause"

// stopWait is how long all threads may take to stop. A thread in uninterruptible
// sleep (a hung disk or NFS mount) stops only once that ends.
const stopWait = 2 * time.Second

// Params name the target, by PID or by Target.
type Params struct {
	PID int `json:"pid,omitempty"`
	// StartTime is /proc/PID/stat field 22. If it is 0, whatever runs under PID now
	// is meant.
	StartTime uint64 `json:"start_time,omitempty"`
	// Target names it in another way.
	Target target.Selector `json:"target,omitzero"`
	// Tree takes in the descendants; default true.
	Tree *bool `json:"tree,omitempty"`
}

// undo is what Revert needs.
type undo struct {
	Processes []inject.Process `json:"processes"`
	Tree      bool             `json:"tree"`
	// Since is when the plan was made, in clock ticks since boot: a descendant that
	// is younger than it was stopped by this plan and not named in it.
	Since uint64 `json:"since"`
}

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

// Support answers whether this kernel has pidfds (5.3).
func (*Fault) Support() (bool, string) {
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return false, fmt.Sprintf("open pidfd: %v; kernel 5.3 or later is needed", err)
	}
	unix.Close(fd)
	return true, ""
}

// Prepare finds the tree and refuses what must not be stopped.
func (f *Fault) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	fail := func(err error) (inject.Plan, error) { return inject.Plan{}, fmt.Errorf("prepare pause: %w", err) }
	if s.For <= 0 {
		return fail(fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused))
	}
	p, err := decodeParams(s.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	if !p.Target.IsZero() {
		t, err := target.Resolve(ctx, p.Target)
		if err != nil {
			return fail(err)
		}
		p.PID, p.StartTime = t.PID, t.StartTime
	}
	boot, err := inject.BootID()
	if err != nil {
		return fail(err)
	}
	u := undo{Tree: p.Tree == nil || *p.Tree, Since: ticksNow()}
	ps, err := members(ctx, p, u.Tree)
	if err != nil {
		return fail(err)
	}
	plan := inject.Plan{Spec: s, BootID: boot}
	protected, err := inject.NewProtected()
	if err != nil {
		return fail(err)
	}
	for i, m := range ps {
		err := stoppable(m, protected)
		if i > 0 && errors.Is(err, inject.ErrGone) {
			continue // a descendant that was short
		}
		if err != nil {
			return fail(err)
		}
		u.Processes = append(u.Processes, m.Process)
		plan.Objects = append(plan.Objects, fmt.Sprintf("process %d (%s) started at tick %d: SIGSTOP", m.PID, m.Comm, m.Process.StartTime))
	}
	if plan.Undo, err = json.Marshal(u); err != nil {
		return fail(err)
	}
	return plan, nil
}

func decodeParams(b []byte) (Params, error) {
	var p Params
	if err := inject.DecodeStrict(b, &p); err != nil {
		return Params{}, err
	}
	switch {
	case p.Target.IsZero() && p.PID <= 0:
		return Params{}, fmt.Errorf("pid is %d, and no other target is named", p.PID)
	case p.Target.IsZero():
		return p, nil
	case p.PID != 0 || p.StartTime != 0:
		return Params{}, errors.New("both pid and target are given")
	}
	return p, p.Target.Validate()
}

func decodeUndo(b []byte) (undo, error) {
	var u undo
	if err := inject.DecodeStrict(b, &u); err != nil {
		return undo{}, fmt.Errorf("undo: %w", err)
	}
	for _, p := range u.Processes {
		if p.PID <= 1 || p.StartTime == 0 {
			return undo{}, fmt.Errorf("undo: process %d started at tick %d", p.PID, p.StartTime)
		}
	}
	return u, nil
}
