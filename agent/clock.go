package agent

import (
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// rawNow is the clock of all deadlines.
func rawNow() time.Duration { return inject.Now() }

// monoNow is the clock on which kernel timers can run.
func monoNow() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // it exists on every Linux
	}
	return time.Duration(ts.Nano())
}
