package nodeclock

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// sample is a reading of the clocks at one instant, in nanoseconds.
type sample struct {
	Real int64 `json:"real"`
	Raw  int64 `json:"raw"`
	// Asleep is how long the machine has been suspended since boot: CLOCK_REALTIME
	// goes on meanwhile and CLOCK_MONOTONIC_RAW does not.
	Asleep int64 `json:"asleep"`
}

// A clock is read between two readings of another, often, and the closest counts: a
// process that does not run for 10 ms in between would take them for a step of the
// clock or a sleep of the machine.
const (
	readings     = 25
	wide         = 20 * time.Microsecond // above it there are more readings
	moreReadings = 40 * readings
)

func readClocks() (sample, error) {
	raw, real, err1 := together(read, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME)
	mono, boot, err2 := together(read, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME)
	return sample{Real: real, Raw: raw, Asleep: boot - mono}, errors.Join(err1, err2)
}

// together reads two clocks at one instant.
func together(read func(clock int32) (int64, error), outer, inner int32) (o, i int64, err error) {
	width := int64(math.MaxInt64)
	for n := 0; n < readings || n < moreReadings && width > int64(wide); n++ {
		a, err1 := read(outer)
		x, err2 := read(inner)
		b, err3 := read(outer)
		if err := errors.Join(err1, err2, err3); err != nil {
			return 0, 0, err
		}
		if b-a < width {
			width, o, i = b-a, a+(b-a)/2, x
		}
	}
	return o, i, nil
}

func read(clock int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("read clock %d: %w", clock, err)
	}
	return ts.Nano(), nil
}

// shortestSleep is far more than what a reading may be off, and less than any suspend.
const shortestSleep = time.Millisecond

// slept is how long the machine was suspended between two samples.
func slept(from, to sample) int64 {
	if d := to.Asleep - from.Asleep; abs(d) >= int64(shortestSleep) {
		return d
	}
	return 0
}
