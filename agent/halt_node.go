package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"
)

// Halting is what a halt did.
type Halting struct {
	Halt Halt `json:"halt"`
	// Already: the node was halted before.
	Already bool `json:"already,omitempty"`
	// Reverted are the faults that were in effect, or left behind.
	Reverted []Recovered `json:"reverted,omitempty"`
	// Killed are agent processes that did not revert in time.
	Killed []inject.Process `json:"killed,omitempty"`
	// LogErr: the halt is in force and could not be logged.
	LogErr string `json:"log_err,omitempty"`
}

const (
	// stoppedWait is how long a halt gives an agent of which a process is stopped.
	stoppedWait = grace
	// obeyWait is how long it gives one that runs: a guard's longest revert, and a
	// little more.
	obeyWait = patience + grace
	// haltLimit bounds a halt as a whole.
	haltLimit = 3*patience + 2*inject.MaxPatience
)

// HaltNode lets nothing more be injected on this node, and returns once everything
// that was in effect is reverted. A running agent sees the marker and reverts; its
// journal then is empty, and an entry leaves the journal only after the kernel's
// state was read back. Where none runs, or one hangs, the faults are reverted here.
// An error of the kind ErrRevertFailed means that it could not be confirmed.
func HaltNode(ctx context.Context, stateDir, reason string, faults []inject.Fault) (Halting, error) {
	h := Halting{Halt: Halt{At: time.Now().UTC(), Who: trail.Caller(), Reason: reason}}
	if was := Halted(stateDir); was != nil {
		h.Halt, h.Already = *was, true
	}
	q := &quietening{j: &journal{dir: filepath.Join(stateDir, "faults"), step: func(string) {}}, seen: map[string]leftover{}}
	_ = q.look() // before the mark, at which a guard may be faster than the next look
	err := makeState(stateDir)
	if err == nil && !h.Already {
		err = mark(stateDir, h.Halt)
	}
	if err != nil {
		// What is in effect is reverted all the same.
		err = fmt.Errorf("halt: nothing keeps an agent from injecting: %w: %w", ErrRevertFailed, err)
	}
	ctx, cancel := context.WithTimeout(ctx, haltLimit)
	defer cancel()
	var undo error
	h.Reverted, h.Killed, undo = q.wait(ctx, stateDir, faults)
	err = errors.Join(err, undo)
	h.LogErr = logHalt(stateDir, reason, h, err)
	return h, err
}

func logHalt(stateDir, reason string, h Halting, err error) string {
	e := trail.Entry{Event: trail.Halt, Result: trail.OK, Why: reason}
	if h.Already {
		e.Detail = "it was halted already"
	}
	if err != nil {
		e.Result, e.Detail = trail.Failed, err.Error()
	}
	list := []trail.Entry{e}
	for _, r := range h.Reverted {
		list = append(list, recoveredEntry(r, trail.Heal))
	}
	return logNow(stateDir, list...)
}

// wait returns once no fault is in effect.
func (q *quietening) wait(ctx context.Context, stateDir string, faults []inject.Fault) ([]Recovered, []inject.Process, error) {
	var killed []inject.Process
	fail := func(err error) ([]Recovered, []inject.Process, error) {
		return q.byAgent(nil), killed, fmt.Errorf("halt: %w: %w", ErrRevertFailed, err)
	}
	for start := time.Now(); ; {
		if err := q.look(); err != nil {
			return fail(err)
		}
		lock, err := lockState(stateDir, 0)
		switch {
		case err == nil:
			healed, err := recoverAll(ctx, q.j, byKind(faults))
			lock.Close()
			return append(q.byAgent(healed), healed...), killed, unhealed("halt", healed, err)
		case !errors.Is(err, ErrBusy):
			return fail(err)
		case len(q.left) == 0:
			return q.byAgent(nil), killed, nil
		}
		if list := holders(stateDir); time.Since(start) > obeyWait+q.patience || time.Since(start) > stoppedWait && anyStopped(list) {
			killed = append(killed, list...)
			if err := endHolders(list); err != nil {
				return fail(err)
			}
		}
		select {
		case <-ctx.Done():
			return fail(fmt.Errorf("%d faults are still in the journal in %s: %w", len(q.left), q.j.dir, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// quietening watches a journal become empty.
type quietening struct {
	j    *journal
	seen map[string]leftover
	ids  []string        // of seen, in the order in which they were
	left map[string]bool // what is there now
	// patience is how much longer the revert of one of them may take.
	patience time.Duration
}

func (q *quietening) look() error {
	list, err := q.j.leftovers()
	q.left = map[string]bool{}
	for _, l := range list {
		q.left[l.id] = true
		if _, known := q.seen[l.id]; !known {
			q.seen[l.id] = l
			q.patience = max(q.patience, min(l.plan.Spec.Patience, inject.MaxPatience))
			q.ids = append(q.ids, l.id)
		}
	}
	return err
}

// byAgent are the faults that were in the journal, are not any more, and were not
// healed here: a running agent took them out, which it does only after a revert
// that it has read back.
func (q *quietening) byAgent(healed []Recovered) []Recovered {
	here := map[string]bool{}
	for _, r := range healed {
		here[r.ID] = true
	}
	var out []Recovered
	for _, id := range q.ids {
		switch {
		case here[id]:
		case healed == nil && q.left[id]:
			out = append(out, Recovered{ID: id, Kind: q.seen[id].plan.Spec.Kind, Outcome: OutcomeFailed,
				Err: "its agent has not reverted it", File: q.seen[id].path})
		default:
			out = append(out, Recovered{ID: id, Kind: q.seen[id].plan.Spec.Kind, Outcome: OutcomeReverted,
				Effect: inject.Effect{Seen: "by its agent, which read the kernel's state back"}})
		}
	}
	return out
}

// ResumeNode takes the halt away. was is nil if there was none.
func ResumeNode(stateDir string) (was *Halt, logErr string, err error) {
	was = Halted(stateDir)
	if _, err := unmark(stateDir); err != nil {
		return was, "", fmt.Errorf("resume: %w", err)
	}
	if was != nil {
		logErr = logNow(stateDir, trail.Entry{Event: trail.Resume, Result: trail.OK, Detail: "it was " + was.String()})
	}
	return was, logErr, nil
}

// logNow appends to the log from a command, and says why it could not.
func logNow(stateDir string, list ...trail.Entry) string {
	if len(list) == 0 {
		return ""
	}
	l, err := trail.Open(LogDir(stateDir))
	if err != nil {
		return err.Error()
	}
	for _, e := range list {
		e.Who = trail.Caller()
		if _, err = l.Append(e); err != nil {
			break
		}
	}
	if err = errors.Join(err, l.Close()); err != nil {
		return err.Error()
	}
	return ""
}
