package audit

import (
	"time"

	"github.com/lockaudit/lockaudit/history"
)

const (
	// stallEvery is how often the auditor looks whether it runs.
	stallEvery = 10 * time.Millisecond
	// stallMost is a stall that matters whatever the lease: the calls of a script have
	// limits of a few seconds.
	stallMost = 2 * time.Second
)

// stallLimit is the shortest stall of the auditor that makes a trial doubtful: half
// of what a judge allows a client for noticing its loss.
func stallLimit(ttl time.Duration) time.Duration { return min(ttl/4, stallMost) }

// watchStalls watches this process, whose clock stamps every event, for times in
// which it did not run: what it sees then is late, and not the deployment.
func watchStalls() (end func() history.Sample) {
	stop, result := make(chan struct{}), make(chan history.Sample)
	began := time.Now() // here, so that a stall before the watcher first runs is seen too
	go func() {
		tick := time.NewTicker(stallEvery)
		defer tick.Stop()
		last, longest, looks := began, time.Duration(0), 0
		look := func() {
			now := time.Now()
			longest, last = max(longest, now.Sub(last)-stallEvery), now
			looks++
		}
		for {
			select {
			case <-tick.C:
				look()
			case <-stop:
				look()
				result <- history.Sample{
					Name: history.SampleStall, Unit: history.Nanoseconds, Source: "10 ms ticker of the auditor",
					Count: looks, Max: int64(longest), Over: time.Since(began),
				}
				return
			}
		}
	}()
	return func() history.Sample {
		close(stop)
		return <-result
	}
}
