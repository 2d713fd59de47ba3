package crash

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Inject kills the server. With a down time of 0 it returns when the server runs
// again, otherwise when it is dead.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Spec.Limit())
	defer cancel()
	e, err := f.inject(ctx, p)
	if err != nil {
		return e, fmt.Errorf("inject crash: %w", err)
	}
	return e, nil
}

func (f *Fault) inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return inject.Effect{}, err
	}
	if err := p.SameBoot(); err != nil {
		return inject.Effect{}, err
	}
	params, err := f.decode(p.Spec)
	if err != nil {
		return inject.Effect{}, err
	}
	h, err := f.begin(p.ID)
	if err != nil {
		return inject.Effect{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	fd, err := u.Server.Open()
	if err != nil {
		return inject.Effect{}, err
	}
	defer unix.Close(fd)
	if h.standby, err = startStandby(ctx, p.ID, brief{Undo: u, In: params.DownFor}); err != nil {
		return inject.Effect{}, err
	}
	if err := h.standby.order(orderArm); err != nil {
		return inject.Effect{}, fmt.Errorf("arm standby: %w", err)
	}
	h.tick = ticksNow()
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			err = inject.ErrGone
		}
		return inject.Effect{}, fmt.Errorf("kill process %d: %w", u.Server.PID, err)
	}
	h.killed = inject.Now()
	if err := waitDeath(fd, deathWait); err != nil {
		return inject.Effect{}, fmt.Errorf("process %d: %w", u.Server.PID, err)
	}
	e := inject.Effect{Seen: fmt.Sprintf("process %d (%s) is dead", u.Server.PID, u.Comm), Count: 1, Since: h.killed}
	if params.DownFor > 0 {
		return e, nil
	}
	up, err := h.up(ctx, u)
	if err != nil {
		return inject.Effect{}, err
	}
	e.Seen += fmt.Sprintf(", %s, %v after its death", u.Twin.seen(up), (inject.Now() - h.killed).Round(time.Millisecond))
	return e, nil
}

// begin registers the plan, so that from here on Revert knows it.
func (f *Fault) begin(id string) (*held, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plans[id] != nil {
		return nil, fmt.Errorf("plan %q is in effect: %w", id, inject.ErrRefused)
	}
	h := &held{}
	f.plans[id] = h
	return h, nil
}

// up orders the standby to go and waits until the server runs.
func (h *held) up(ctx context.Context, u undo) (inject.Process, error) {
	if err := h.standby.order(orderGo); err != nil {
		return inject.Process{}, fmt.Errorf("order standby: %w", err)
	}
	return u.await(ctx, since{h.standby.process.Pid, h.tick}, h.standby.failure)
}
