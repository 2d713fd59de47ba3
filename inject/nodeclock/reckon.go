package nodeclock

import (
	"math"
	"time"
)

// tolerance is how far a clock may be from where it was reckoned to be and still
// count as there: the time between the reading and the step, and per time what the
// kernel's slewing of a remaining correction may add.
func tolerance(elapsed int64) int64 { return int64(10*time.Millisecond) + elapsed/2000 }

// untouched is what the clock would show at the time of now without the fault: on
// from the anchor at the rate that the kernel had.
func (u undo) untouched(now sample) int64 {
	elapsed := now.Raw - u.Anchor.Raw
	return u.Anchor.Real + elapsed + int64(math.Round(float64(elapsed)*u.Timex.ppm()/1e6)) + slept(u.Anchor, now)
}

// finding is what Revert makes of where the clock is.
type finding int

const (
	// unmoved: it is where it would be without the fault.
	unmoved finding = iota
	// ours: it is where the fault has put it.
	ours
	// foreign: somebody else has set it.
	foreign
)

// judge says who has put the clock where it is, and by how much it is off. fast says
// that it was found to run at the fault's rate.
func (u undo) judge(p Params, now sample, fast bool) (finding, time.Duration) {
	off := now.Real - u.untouched(now)
	elapsed := now.Raw - u.Anchor.Raw
	near, offset := tolerance(elapsed), int64(p.Offset)
	if p.Drift == 0 {
		switch fromStep, from0 := abs(off-offset), abs(off); {
		case from0 <= near && from0 <= fromStep:
			return unmoved, time.Duration(off)
		case fromStep <= near:
			return ours, time.Duration(off)
		}
		return foreign, time.Duration(off)
	}
	// The drift may have been ended at any time, and the step may never have come.
	drifted := int64(float64(elapsed) * p.Drift / 1e6)
	within := func(a, b int64) bool { return off >= min(a, b)-near && off <= max(a, b)+near }
	switch {
	case abs(off) <= near && !fast: // what an NTP client may have slewed meanwhile
		return unmoved, time.Duration(off)
	case within(0, drifted), within(offset, offset+drifted):
		return ours, time.Duration(off)
	}
	return foreign, time.Duration(off)
}

func abs(x int64) int64 { return max(x, -x) }
