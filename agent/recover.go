package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"
)

// Outcome is how a leftover of an earlier life ended.
type Outcome string

// The outcomes.
const (
	OutcomeReverted Outcome = "reverted" // and the kernel's state was read back
	OutcomeRebooted Outcome = "rebooted" // of another boot: no process or object of it exists any more
	OutcomeFailed   Outcome = "failed"   // something may remain
)

// Recovered is a fault that was found in the journal.
type Recovered struct {
	ID      string        `json:"id"`
	Kind    string        `json:"kind,omitempty"`
	Outcome Outcome       `json:"outcome"`
	Effect  inject.Effect `json:"effect"`
	// Err and File are set if the outcome is failed: why, and the journal's file
	// that was kept.
	Err  string `json:"err,omitempty"`
	File string `json:"file,omitempty"`
}

// recoverAll reverts everything in the journal. A failure does not keep it from
// the next entry. Nothing of another boot is touched: its pids mean others now.
func recoverAll(ctx context.Context, j *journal, kinds map[string]inject.Fault) ([]Recovered, error) {
	left, err := j.leftovers()
	if err != nil || len(left) == 0 {
		return nil, errors.Join(err, j.dropUnfinished())
	}
	boot, err := inject.BootID()
	if err != nil {
		return nil, err
	}
	var out []Recovered
	for _, l := range left {
		r := Recovered{ID: l.id, Kind: l.plan.Spec.Kind}
		r.Outcome, r.Effect, err = recoverOne(ctx, l, boot, kinds)
		if err == nil {
			err = j.remove(l.id)
		}
		if err != nil {
			r.Outcome, r.Err, r.File = OutcomeFailed, err.Error(), l.path
		}
		out = append(out, r)
	}
	return out, j.dropUnfinished()
}

func recoverOne(ctx context.Context, l leftover, boot string, kinds map[string]inject.Fault) (Outcome, inject.Effect, error) {
	if l.err != nil {
		return OutcomeFailed, inject.Effect{}, l.err
	}
	if l.plan.BootID != boot {
		return OutcomeRebooted, inject.Effect{Seen: "of an earlier boot, nothing of it exists any more"}, nil
	}
	f, ok := kinds[l.plan.Spec.Kind]
	if !ok {
		return OutcomeFailed, inject.Effect{}, fmt.Errorf("revert %s: this agent does not know the kind %q", l.id, l.plan.Spec.Kind)
	}
	ctx, cancel := context.WithTimeout(ctx, patience+min(max(l.plan.Spec.Patience, 0), inject.MaxPatience))
	defer cancel()
	e, err := f.Revert(ctx, l.plan)
	return OutcomeReverted, e, err
}

// Heal reverts whatever an agent left on this node and returns what it did; it
// needs nothing but the state directory. An error of the kind ErrRevertFailed
// means that something may remain, ErrBusy that an agent is at work there, which
// owns its faults and would revert them at the end of its orders.
func Heal(ctx context.Context, stateDir string, faults []inject.Fault) ([]Recovered, error) {
	if _, err := os.Stat(stateDir); errors.Is(err, os.ErrNotExist) {
		return nil, nil // no agent ever ran with it
	}
	lock, err := lockState(stateDir, 3*time.Second)
	if err != nil {
		return nil, fmt.Errorf("heal: %w", err)
	}
	defer lock.Close()
	_ = newGroups(stateDir).sweep()
	j := &journal{dir: filepath.Join(stateDir, "faults"), step: func(string) {}}
	done, err := recoverAll(ctx, j, byKind(faults))
	var log []trail.Entry
	for _, r := range done {
		log = append(log, recoveredEntry(r, trail.Heal))
	}
	_ = logNow(stateDir, log...) // a heal is never held up by its log
	return done, unhealed("heal", done, err)
}

// unhealed names what could not be reverted and what to do about it.
func unhealed(verb string, done []Recovered, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w: %w", verb, ErrRevertFailed, err)
	}
	for _, r := range done {
		if r.Outcome == OutcomeFailed {
			err = errors.Join(err, fmt.Errorf("%s %s: %w: %s; its plan is in %s: undo what it lists by hand, then remove the file",
				verb, r.ID, ErrRevertFailed, r.Err, r.File))
		}
	}
	return err
}

// Journaled lists the plans in a state directory's journal: what is in effect
// under a running agent, or was left behind.
func Journaled(stateDir string) ([]inject.Plan, error) {
	left, err := (&journal{dir: filepath.Join(stateDir, "faults")}).leftovers()
	var plans []inject.Plan
	for _, l := range left {
		if l.err != nil {
			err = errors.Join(err, fmt.Errorf("read %s: %w", l.path, l.err))
			continue
		}
		plans = append(plans, l.plan)
	}
	return plans, err
}

func byKind(faults []inject.Fault) map[string]inject.Fault {
	m := make(map[string]inject.Fault, len(faults))
	for _, f := range faults {
		m[f.Kind()] = f
	}
	return m
}
