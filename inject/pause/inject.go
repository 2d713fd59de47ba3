package pause

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// stopWait is how long everything may take to stop. A thread in uninterruptible
// sleep (a hung disk or NFS mount) stops only once that ends.
const stopWait = 2 * time.Second

// resumeWait is how long a resumed process may be seen stopped. It leaves that
// state within the signal; only somebody else's stop keeps it there.
const resumeWait = time.Second

// grip is what this process holds of one plan. Its methods are called one at a time.
type grip interface {
	// stop stops everything of the plan, and whatever is forked meanwhile, and
	// returns when the kernel shows it so. It can be called again after resume.
	stop(ctx context.Context) error
	// seen reads from the kernel what is stopped.
	seen() (inject.Effect, error)
	// resume lets everything run and returns when the kernel shows it so.
	resume(ctx context.Context) (inject.Effect, error)
	// release closes every handle; what is still stopped runs on.
	release()
}

// held is what this process has in effect for one plan.
type held struct {
	grip
	stutter *stutter // nil: one pause
}

// Inject stops what the plan names and returns when it is seen stopped. With a
// stutter that is the first stop of many.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) { return inject.Effect{}, fmt.Errorf("inject pause: %w", err) }
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return fail(err)
	}
	var params Params
	if err := json.Unmarshal(p.Spec.Params, &params); err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	if err := p.SameBoot(); err != nil {
		return fail(err)
	}
	h := &held{grip: f.newGrip(p.ID, u)}
	f.mu.Lock()
	if f.plans[p.ID] != nil {
		f.mu.Unlock()
		return fail(fmt.Errorf("plan %q is in effect: %w", p.ID, inject.ErrRefused))
	}
	f.plans[p.ID] = h // from the first signal on, Revert knows it
	f.mu.Unlock()

	e, err := stopOnce(ctx, h.grip)
	if err != nil {
		return fail(err)
	}
	if params.Period > 0 {
		h.stutter = startStutter(h.grip, params)
		e.Seen += fmt.Sprintf("; from now on for %v of every %v", params.still(), params.Period)
	}
	return e, nil
}

func (f *Fault) newGrip(id string, u undo) grip {
	switch u.Method {
	case MethodFreezer:
		return &frozen{id: id, undo: u}
	case MethodPtrace:
		return &herd{fault: f, id: id, undo: u, way: &tracing{}}
	default:
		return &herd{fault: f, id: id, undo: u, way: newSignalling()}
	}
}

func stopOnce(ctx context.Context, g grip) (inject.Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	if err := g.stop(ctx); err != nil {
		return inject.Effect{}, err
	}
	return g.seen()
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
