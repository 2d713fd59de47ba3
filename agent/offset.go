package agent

import (
	"context"
	"time"

	"github.com/lockaudit/lockaudit/measure"
)

// Offset is a node's clocks against this machine's. It places what a node says of its
// own time on the auditor's, and decides nothing: no verdict rests on a node's clock.
type Offset struct {
	// Ahead is the node's wall clock minus this one's. It is off by at most Error, half
	// of RoundTrip: the node read it at some time between order and answer.
	Ahead, Error, RoundTrip time.Duration
	// Raw is what the node's CLOCK_MONOTONIC_RAW showed At an instant here, as well as
	// Ahead is known; 0 if the agent does not say.
	Raw time.Duration
	At  time.Time
}

// clockReadings is how often a clock is asked for; the quickest answer says most.
const clockReadings = 5

// Clock compares the node's clocks with this machine's: of several exchanges the one
// with the least round trip counts, as in NTP, because it was held up least.
func (c *Conn) Clock(ctx context.Context) (Offset, error) {
	var best Offset
	for i := range clockReadings {
		var r measure.Reading
		before := time.Now()
		if err := c.Measure(ctx, measure.KindClock, measure.Clock{}, &r); err != nil {
			return Offset{}, err
		}
		round := time.Since(before)
		if i > 0 && round >= best.RoundTrip {
			continue
		}
		middle := before.Add(round / 2)
		best = Offset{
			Ahead: time.Unix(0, r.Unix).Sub(middle.Round(0)), // Round(0): compare wall clocks
			Error: (round + 1) / 2, RoundTrip: round, Raw: r.Raw, At: middle,
		}
	}
	c.mu.Lock()
	c.offset = best
	c.mu.Unlock()
	return best, nil
}

// placed is when a fault took effect on this machine's clock, as the node's own stamp
// says; in any case between order and answer, which is certain however the clocks have
// drifted since they were compared. Zero: the node's clock is not known.
func (c *Conn) placed(injected time.Duration, ordered time.Time) time.Time {
	c.mu.Lock()
	o := c.offset
	c.mu.Unlock()
	at, ok := o.Local(injected)
	if !ok {
		return time.Time{}
	}
	if now := time.Now(); at.After(now) {
		at = now
	}
	if at.Before(ordered) {
		at = ordered
	}
	return at
}

// Local is the instant here at which the node's CLOCK_MONOTONIC_RAW showed raw; false if
// the node's clock is not known.
func (o Offset) Local(raw time.Duration) (time.Time, bool) {
	return o.At.Add(raw - o.Raw), o.Raw > 0
}
