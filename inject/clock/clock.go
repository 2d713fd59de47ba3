// Package clock skews the wall clock of one process tree, by patching the private
// copy of the vDSO through which its programs read the time.
//
// Every Linux process has a page of kernel-made code, the vDSO, and libc, Go, Java
// and nearly everything else reads clocks by calling it. The pages are copied on
// write. So the first bytes of clock_gettime, gettimeofday and time in the target's
// copy become a jump to a small stub (stub.S) in the zero tail of the same pages,
// which calls the displaced original and adds an offset and a drift to the clocks
// that follow the wall clock. Nobody else sees it; the kernel's clock is not
// touched.
//
// A lease is part of the stub: past it the skew ends by itself, whatever has
// happened to this process. The header of the stub says what was there before, so
// that any process can put it back.
//
// Monotonic clocks are refused: a process whose monotonic clock goes back waits too
// long in sleeps that are already running, and nothing real does that to it.
package clock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// Kind is the word for this fault in an order.
const Kind = "clock"

// Fault is the skew of processes. The zero value is not ready; use New.
type Fault struct {
	mu    sync.Mutex
	plans map[string]*held // by plan id
	// step is called behind each write to a target's code; tests are killed there.
	step func(name string)
}

// held is what this process has in effect for one plan.
type held struct {
	undo    undo
	expires int64 // of CLOCK_MONOTONIC, in nanoseconds
	// procs are the processes that were found with this plan's stub, by pid.
	procs map[int]inject.Process
	stop  func() // ends the strobe
}

// New returns a clock fault that holds nothing yet.
func New() *Fault { return &Fault{plans: map[string]*held{}, step: func(string) {}} }

// Kind is "clock".
func (*Fault) Kind() string { return Kind }

// Support answers whether this machine's vDSO can be patched.
func (*Fault) Support() (bool, string) {
	if _, err := ownImage(); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// undo is what Revert needs.
type undo struct {
	Processes []inject.Process `json:"processes"`
	Tree      bool             `json:"tree"`
	Skew      Skew             `json:"skew"`
	// Since is when the plan was made, in clock ticks since boot: whoever is younger
	// may have inherited the stub from its parent.
	Since uint64 `json:"since"`
}

// Prepare finds the tree and refuses what must not or cannot be skewed.
func (f *Fault) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	fail := func(err error) (inject.Plan, error) { return inject.Plan{}, fmt.Errorf("prepare clock: %w", err) }
	if s.For <= 0 {
		return fail(fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused))
	}
	p, err := decodeParams(s.Params, time.Now())
	if err != nil {
		return fail(err)
	}
	own, err := ownImage()
	if err != nil {
		return fail(err)
	}
	boot, err := inject.BootID()
	if err != nil {
		return fail(err)
	}
	t, err := target.Resolve(ctx, p.Target)
	if err != nil {
		return fail(err)
	}
	u := undo{Tree: p.Tree == nil || *p.Tree, Skew: p.Skew, Since: ticksNow()}
	plan := inject.Plan{Spec: s, BootID: boot}
	ps, err := members(ctx, t.Process, u.Tree)
	if err != nil {
		return fail(err)
	}
	protected, err := inject.NewProtected()
	if err != nil {
		return fail(err)
	}
	for i, m := range ps {
		err := protected.Refuse(m.PID, m.Stat)
		if err == nil {
			err = untouched(m.Process, own)
		}
		switch {
		case err == nil:
			u.Processes = append(u.Processes, m.Process)
			plan.Objects = append(plan.Objects, fmt.Sprintf("process %d (%s) started at tick %d: its wall clock %s", m.PID, m.Comm, m.Process.StartTime, p.Skew))
		case i > 0 && errors.Is(err, inject.ErrGone): // a descendant that was short
		case i > 0 && errors.Is(err, inject.ErrUnsupported):
			plan.Objects = append(plan.Objects, fmt.Sprintf("process %d (%s) keeps its clock: %v", m.PID, m.Comm, err))
		default:
			return fail(err)
		}
	}
	if plan.Undo, err = json.Marshal(u); err != nil {
		return fail(err)
	}
	return plan, nil
}

// untouched checks that a process's vDSO is as the kernel made it, and readable.
func untouched(p inject.Process, own *image) error {
	mem, err := openMemory(p, false)
	if err != nil {
		return err
	}
	defer mem.close()
	h, err := mem.look(own)
	if err == nil && h.patched() {
		err = fmt.Errorf("its clock is skewed by another fault already: %w", inject.ErrRefused)
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	return nil
}

func decodeUndo(b []byte) (undo, error) {
	var u undo
	if err := inject.DecodeStrict(b, &u); err != nil {
		return undo{}, fmt.Errorf("undo: %w", err)
	}
	for _, p := range u.Processes {
		if p.PID <= 1 || p.StartTime == 0 {
			return undo{}, errors.New("undo: process " + strconv.Itoa(p.PID) + " has no start time")
		}
	}
	return u, nil
}
