package measure

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"golang.org/x/sys/unix"
)

const (
	// tick is how often the meter wakes. A stall shorter than this may be missed,
	// a longer one shows in full.
	tick = time.Millisecond
	// MaxPauses bounds a measurement, and with it the agent's memory: 8 bytes a
	// tick, 2.4 MB.
	MaxPauses = 5 * time.Minute
)

// pauses wakes every tick and records by how much it was late, as jHiccup does:
// what delays this thread (the scheduler, a CPU quota, a paused VM) delays every
// thread of the node. What only stops one process, such as its garbage
// collection, does not show here.
func pauses(ctx context.Context, p Pauses) (history.Sample, error) {
	if p.For < tick || p.For > MaxPauses {
		return history.Sample{}, fmt.Errorf("for %s is not within %s to %s: %w", p.For, tick, MaxPauses, ErrParams)
	}
	before := readStrain()
	late, wait, err := hiccups(ctx, p.For)
	if err != nil {
		return history.Sample{}, err
	}
	s := history.NewSample(history.SamplePause, late, p.For)
	s.Source = "1 ms hiccup meter"
	s.Notes = append(notes(before, readStrain()), fmt.Sprintf("schedstat: the meter's thread waited %s for a CPU", wait.Round(100*time.Microsecond)))
	return s, nil
}

// hiccups returns by how much each wake-up was late, and the thread's run delay
// as the scheduler counts it.
func hiccups(ctx context.Context, d time.Duration) (late []time.Duration, wait time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	waited := runDelay()
	late = make([]time.Duration, 0, d/tick+1)
	start := now()
	for due := start + tick; due <= start+d; {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		ts := unix.NsecToTimespec(int64(due))
		// Absolute: an interval timer would hide the delay of its own restart.
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
		if err == unix.EINTR {
			continue // a signal to this process, for which the kernel wakes it
		}
		if err != nil {
			return nil, 0, fmt.Errorf("sleep until the next tick: %w", err)
		}
		woke := now()
		late = append(late, woke-due)
		due += tick
		// One stall is one observation, not one for every tick that it swallowed.
		if woke > due {
			due = woke + tick
		}
	}
	return late, runDelay() - waited, nil
}

// now reads CLOCK_MONOTONIC, the clock that the sleep is on.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // this clock exists on every Linux
	}
	return time.Duration(ts.Nano())
}
