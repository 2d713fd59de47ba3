package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// rawNow reads CLOCK_MONOTONIC_RAW, on which all deadlines are: CLOCK_MONOTONIC
// and BOOTTIME are slewed by NTP and by our own clock-drift fault.
func rawNow() time.Duration { return clock(unix.CLOCK_MONOTONIC_RAW) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // these clocks exist on every Linux
	}
	return time.Duration(ts.Nano())
}
