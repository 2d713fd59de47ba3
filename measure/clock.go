package measure

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock asks what time of day the node's clock shows.
type Clock struct{}

// Reading is a wall clock as its node reads it, in nanoseconds since 1970. Whoever asked
// knows when: between the order and the answer.
type Reading struct {
	Unix int64 `json:"unix"`
	// Raw is the node's CLOCK_MONOTONIC_RAW at that time, which stamps its faults.
	Raw time.Duration `json:"raw,omitempty"`
}

func readClock(context.Context, Clock) (Reading, error) {
	var raw unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &raw); err != nil {
		return Reading{}, fmt.Errorf("read clock: %w", err)
	}
	return Reading{Unix: time.Now().UnixNano(), Raw: time.Duration(raw.Nano())}, nil
}
