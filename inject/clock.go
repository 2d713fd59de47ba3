package inject

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now reads CLOCK_MONOTONIC_RAW, on which all deadlines are: CLOCK_MONOTONIC and
// BOOTTIME are slewed by NTP and by our own clock-drift fault.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // it exists on every Linux
	}
	return time.Duration(ts.Nano())
}
