package nodeclock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Inject pauses the NTP clients and then disturbs the clock.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) {
		return inject.Effect{}, fmt.Errorf("inject clock-node: %w", err)
	}
	if err := errors.Join(ctx.Err(), p.SameBoot(), f.permitted()); err != nil {
		return fail(err)
	}
	params, err := decodeParams(p.Spec.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return fail(err)
	}
	if err := f.claim(p.ID); err != nil {
		return fail(err)
	}
	if err := pauseDaemons(ctx, u.Daemons); err != nil {
		return fail(err)
	}
	if err := f.step("paused"); err != nil {
		return fail(err)
	}
	// Somebody may have set it since Prepare; the anchor would be wrong then.
	now, err := readClocks()
	if err != nil {
		return fail(err)
	}
	if off := time.Duration(now.Real - u.untouched(now)); abs(int64(off)) > tolerance(now.Raw-u.Anchor.Raw) {
		return fail(fmt.Errorf("somebody has set the clock by %v since the order was checked: %w", off, inject.ErrRefused))
	}
	if err := f.disturb(p.ID, params, u); err != nil {
		return fail(err)
	}
	e, err := u.lookAt(params)
	if err != nil {
		return fail(err)
	}
	return e, nil
}

// claim takes the clock for one plan: two disturbances could not be told apart.
func (f *Fault) claim(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.active != "" {
		return fmt.Errorf("fault %q has the clock already: %w", f.active, inject.ErrRefused)
	}
	f.active = id
	return nil
}

func (f *Fault) disturb(id string, p Params, u undo) error {
	if p.Drift != 0 {
		freq, tick, err := u.Timex.rate(p.Drift)
		if err == nil {
			err = setRate(freq, tick)
		}
		if err != nil {
			return err
		}
	}
	if err := f.step("rate"); err != nil {
		return err
	}
	if p.Offset != 0 {
		if err := stepBy(p.Offset); err != nil {
			return err
		}
	}
	if err := f.step("offset"); err != nil {
		return err
	}
	// An unsynchronised clock is not written to the hardware's, which thus shows the
	// right time to the next boot.
	unsynced := u.Timex
	unsynced.Status |= unix.STA_UNSYNC
	if err := setStatus(unsynced); err != nil {
		return err
	}
	if p.Strobe > 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.strobe[id] = startStrobe(p, u)
	}
	return nil
}

// lookAt reads the effect back.
func (u undo) lookAt(p Params) (inject.Effect, error) {
	now, err := readClocks()
	if err != nil {
		return inject.Effect{}, err
	}
	t, err := readTimex()
	if err != nil {
		return inject.Effect{}, err
	}
	freq, tick, err := u.Timex.rate(p.Drift)
	if err != nil {
		return inject.Effect{}, err
	}
	found, off := u.judge(p, now, true)
	if p.Strobe > 0 && found == unmoved {
		found = ours // it is back for the moment
	}
	if p.Offset != 0 && found == foreign || t.Freq != freq || t.Tick != tick {
		return inject.Effect{}, fmt.Errorf("read back: the clock is %v off, frequency %d and tick %d, want %v, %d and %d", off, t.Freq, t.Tick, p.Offset, freq, tick)
	}
	return inject.Effect{
		Seen:  fmt.Sprintf("the clock of this machine is %+v off and runs %+.1f ppm off", off.Round(time.Microsecond), t.ppm()-u.Timex.ppm()),
		Count: 1, Since: time.Duration(now.Raw),
	}, nil
}
