package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// quietFor is how long A must have nothing under way to the resource before the cut is
// taken away. An application that tries again does so sooner.
const quietFor = time.Second

// letGo resumes A if it is still paused, and takes the cut away once A has given up what
// it wanted to write. An application that does not give up is started again: its process
// believes in a lock that it has lost, and its write must not arrive.
func (o *observed) letGo(ctx context.Context) error {
	// The application is left as it was found, also when the audit is being stopped.
	ctx = context.WithoutCancel(ctx)
	err := o.resume(ctx)
	if len(o.shadow.open) == 0 {
		return err
	}
	if quiet, looked := o.untilQuiet(ctx); !quiet {
		restarted := o.restart(ctx)
		if err = errors.Join(err, looked, restarted); restarted != nil {
			return err // what A wants to write must not arrive; the cut has a deadline
		}
	}
	return errors.Join(err, o.shadow.heal(ctx))
}

// untilQuiet resets what A has under way to the resource, behind the cut, so that it
// hears of it, until it does not try again.
func (o *observed) untilQuiet(ctx context.Context) (bool, error) {
	limit := o.t.watchLate() + callLimit
	deadline := time.Now().Add(limit)
	o.t.Progress("waiting until A gives up what it wanted to write", deadline)
	for time.Now().Before(deadline) {
		if alive, err := o.a.Alive(ctx); err == nil && !alive {
			return true, nil // nobody is left to write
		}
		if o.rightful(ctx) {
			return true, nil
		}
		if err := o.reset(ctx); err != nil {
			return false, err
		}
		again := false
		_, err := poll(ctx, time.Now().Add(quietFor), func() (bool, error) {
			unsent, err := o.a.Unsent(ctx)
			again = len(unsent) > 0
			return again, err
		})
		if alive, gone := o.a.Alive(ctx); gone == nil && !alive {
			continue
		}
		if err != nil {
			return false, err
		}
		if !again {
			return true, nil
		}
	}
	return false, nil
}

// rightful: what A writes now is not late, because nobody else has had the lock since, or
// because A has it again. When in doubt it is late.
func (o *observed) rightful(ctx context.Context) bool {
	s, err := o.watch.look(ctx)
	if err != nil {
		return false
	}
	if o.lastOfB == "" && (!s.held || s.id == o.since.id) {
		return true
	}
	if !s.held {
		return false
	}
	in, err := o.watch.resolve(ctx, s)
	return err == nil && in.ID() == o.a.ID()
}

// reset has a second cut, which ends at once, reset A's connections to the resource; the
// first one stays, so that nothing gets through.
func (o *observed) reset(ctx context.Context) error {
	c := cuts{t: o.t}
	cut := o.offResource(agentLimit)
	return errors.Join(c.cut(ctx, o.a.Node(), "a's connections", cut), c.heal(ctx))
}

// restart kills A and has it started again.
func (o *observed) restart(ctx context.Context) error {
	t := o.t
	t.step("A does not give up: start it again")
	f := history.Fault{Kind: "crash", Node: o.a.Node(), Target: "a", For: agentLimit}
	done, err := t.inject(ctx, f, func(ctx context.Context) (history.Fault, error) { return o.a.Restart(ctx, agentLimit) })
	if err == nil {
		f.ID = done.ID
		_, err = t.revert(ctx, f, func(ctx context.Context) (history.Fault, error) {
			return t.Stage.End(ctx, f.Node, f.Kind, f.ID)
		})
	}
	if err != nil {
		return fmt.Errorf("the application (A) still tries to write with a lock that it has lost, and could not be started again; the cut ends by itself: %w", err)
	}
	return nil
}
