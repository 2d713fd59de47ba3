package pause

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// The methods.
const (
	// SIGSTOP, which the target's parent and job control see.
	MethodSIGSTOP = "sigstop"
	// ptrace, which neither of them sees; TracerPid in /proc shows it.
	MethodPtrace = "ptrace"
	// The cgroup v2 freezer, for a whole systemd unit or container.
	MethodFreezer = "freezer"
)

// Params name the target, by PID or by Target, and how it is stopped.
type Params struct {
	PID int `json:"pid,omitempty"`
	// StartTime is /proc/PID/stat field 22. If it is 0, whatever runs under PID now
	// is meant.
	StartTime uint64 `json:"start_time,omitempty"`
	// Target names it in another way.
	Target target.Selector `json:"target,omitzero"`
	// Method is one of the methods; the default is sigstop.
	Method string `json:"method,omitempty"`
	// Tree takes in the descendants; default true. The freezer takes in the whole
	// unit or container instead.
	Tree *bool `json:"tree,omitempty"`
	// Period makes it a stutter: of each period, in nanoseconds, the target is
	// stopped for the share Duty, between 0 and 1, and runs for the rest.
	Period time.Duration `json:"period,omitempty"`
	Duty   float64       `json:"duty,omitempty"`
}

// shortest is the least that a stutter may stop or run: what stopping takes itself.
const shortest = time.Millisecond

// Check says what is wrong with params, as far as that can be told on any machine.
func Check(b []byte) error {
	_, err := decodeParams(b)
	return err
}

func decodeParams(b []byte) (Params, error) {
	var p Params
	if err := inject.DecodeStrict(b, &p); err != nil {
		return Params{}, err
	}
	switch {
	case p.Target.IsZero() && p.PID <= 0:
		return Params{}, fmt.Errorf("pid is %d, and no other target is named", p.PID)
	case !p.Target.IsZero() && (p.PID != 0 || p.StartTime != 0):
		return Params{}, errors.New("both pid and target are given")
	}
	if !p.Target.IsZero() {
		if err := p.Target.Validate(); err != nil {
			return Params{}, err
		}
	}
	switch p.Method {
	case "":
		p.Method = MethodSIGSTOP
	case MethodSIGSTOP, MethodPtrace:
	case MethodFreezer:
		if p.Tree != nil && !*p.Tree {
			return Params{}, errors.New("tree is false, but the freezer takes in the whole unit or container")
		}
	default:
		return Params{}, fmt.Errorf("method is %q, not sigstop, ptrace or freezer", p.Method)
	}
	return p, p.checkStutter()
}

func (p Params) checkStutter() error {
	switch {
	case p.Period == 0 && p.Duty == 0:
		return nil
	case p.Period <= 0:
		return fmt.Errorf("duty is %v of a period of %v; a stutter needs both", p.Duty, p.Period)
	case !(p.Duty > 0 && p.Duty < 1):
		return fmt.Errorf("duty is %v, not a share between 0 and 1 of the period in which the target is stopped", p.Duty)
	case p.still() < shortest || p.Period-p.still() < shortest:
		return fmt.Errorf("%v stopped of every %v: neither part may be shorter than %v", p.still(), p.Period, shortest)
	}
	return nil
}

// still is how long of each period the target is stopped.
func (p Params) still() time.Duration { return time.Duration(p.Duty * float64(p.Period)) }

// undo is what Revert needs.
type undo struct {
	Method    string           `json:"method"`
	Processes []inject.Process `json:"processes,omitempty"`
	Tree      bool             `json:"tree"`
	// Since is when the plan was made, in clock ticks since boot: a descendant that
	// is younger than it was stopped by this plan and not named in it.
	Since uint64 `json:"since"`
	// Guard is the process that will hold the target, of ptrace.
	Guard inject.Process `json:"guard,omitzero"`
	// Of the freezer: the cgroup, the process that was meant, and the pids that were
	// in it and may be stopped, in order.
	Group  string         `json:"group,omitempty"`
	Target inject.Process `json:"target,omitzero"`
	Inside pidList        `json:"inside,omitempty"`
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
	switch u.Method {
	case "": // written by a version that knew only this
		u.Method = MethodSIGSTOP
		return u, nil
	case MethodSIGSTOP, MethodPtrace, MethodFreezer:
		return u, nil
	}
	return undo{}, fmt.Errorf("undo: method is %q", u.Method)
}
