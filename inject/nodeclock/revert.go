package nodeclock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// Revert restores the rate, puts the clock where it would be without the fault,
// unless somebody else has set it meanwhile, and lets the NTP clients go on.
func (f *Fault) Revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) {
		return inject.Effect{}, fmt.Errorf("revert clock-node: %w", err)
	}
	if err := p.SameBoot(); errors.Is(err, inject.ErrGone) {
		// The hardware's clock was not touched, and the kernel has read it at boot.
		return inject.Effect{Seen: "of an earlier boot, nothing of it exists any more"}, nil
	} else if err != nil {
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
	f.mu.Lock()
	s := f.strobe[p.ID]
	delete(f.strobe, p.ID)
	other := f.active != "" && f.active != p.ID
	f.mu.Unlock()
	if s != nil {
		s.end()
	}
	if other { // two are never in effect at once, so this one is not
		return inject.Effect{Seen: "nothing was in effect"}, nil
	}
	seen, err := u.restore(params)
	if err == nil {
		// Last: they correct what is left, and must not see what was not theirs.
		err = resumeDaemons(ctx, u.Daemons)
	}
	if err != nil {
		return fail(err)
	}
	f.mu.Lock()
	if f.active == p.ID {
		f.active = ""
	}
	f.mu.Unlock()
	return inject.Effect{Seen: seen, Count: 1}, nil
}

// exact is how close to the ordered step the clock has to be for its exact negative
// to be the better correction: a reading is good to a few microseconds.
const exact = 100 * time.Microsecond

// restore is rate first, so that the step is not overtaken by the drift.
func (u undo) restore(p Params) (seen string, err error) {
	fast, rate, err := u.restoreRate(p)
	if err != nil {
		return "", err
	}
	now, err := readClocks()
	if err != nil {
		return "", err
	}
	found, off := u.judge(p, now, fast)
	switch found {
	case foreign:
		return fmt.Sprintf("somebody else has set the clock, %v away from where this fault had put it: it was left as it is; %s", (off - p.Offset).Round(time.Microsecond), rate), nil
	case unmoved:
		return u.confirm(p, off, "nothing to step; "+rate)
	}
	back := -off
	if p.Drift == 0 && (off-p.Offset).Abs() < exact {
		back = -p.Offset
	}
	if err := stepBy(back); err != nil {
		return "", err
	}
	return u.confirm(p, off, fmt.Sprintf("stepped by %+v; %s", back, rate))
}

// restoreRate puts back frequency and tick, if they are what the fault has set; fast
// says that they were.
func (u undo) restoreRate(p Params) (fast bool, seen string, err error) {
	const asBefore = "its rate is as before"
	t, err := readTimex()
	if err != nil {
		return false, "", err
	}
	freq, tick, err := u.Timex.rate(p.Drift)
	switch {
	case err != nil:
		return false, "", err
	case t.Freq == u.Timex.Freq && t.Tick == u.Timex.Tick:
		return false, asBefore, nil
	case t.Freq != freq || t.Tick != tick:
		return false, fmt.Sprintf("somebody else has set its rate to %+.3f ppm, which was left", t.ppm()), nil
	}
	if err := setRate(u.Timex.Freq, u.Timex.Tick); err != nil {
		return false, "", err
	}
	if t, err = readTimex(); err != nil || t.Freq != u.Timex.Freq || t.Tick != u.Timex.Tick {
		return false, "", errors.Join(fmt.Errorf("read back: frequency %d and tick %d, want %d and %d", t.Freq, t.Tick, u.Timex.Freq, u.Timex.Tick), err)
	}
	return true, asBefore, nil
}

// confirm puts back the status and reads the clock once more.
func (u undo) confirm(p Params, was time.Duration, seen string) (string, error) {
	if err := setStatus(u.Timex); err != nil {
		return "", err
	}
	now, err := readClocks()
	if err != nil {
		return "", err
	}
	off := time.Duration(now.Real - u.untouched(now))
	if abs(int64(off)) > tolerance(now.Raw-u.Anchor.Raw) {
		return "", fmt.Errorf("read back: the clock is %v off after the revert, and was %v", off, was)
	}
	return fmt.Sprintf("the clock of this machine is %+v off; %s", off, seen), nil
}
