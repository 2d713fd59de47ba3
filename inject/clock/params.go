package clock

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// Params of an order.
type Params struct {
	// Target is the process; with pid alone, pid and start_time may stand beside the
	// other parameters.
	Target target.Selector `json:"target"`
	// Tree takes in the descendants; default true.
	Tree *bool `json:"tree,omitempty"`
	// Clock is "realtime" or empty: all clocks that follow the wall clock.
	Clock string `json:"clock,omitempty"`
	Skew
}

// Skew is what the target's wall clock shows, compared with the right one.
type Skew struct {
	// Offset is added, in nanoseconds.
	Offset time.Duration `json:"offset,omitempty"`
	// DriftPPM is how fast the error grows, in µs per second, from the moment at
	// which the fault takes effect.
	DriftPPM float64 `json:"drift_ppm,omitempty"`
	// Strobe, if not 0, takes the skew away and puts it back each time it has passed.
	Strobe time.Duration `json:"strobe,omitempty"`
}

// Limits of a skew.
const (
	// MaxDrift keeps the clock going forward, if at a tenth of its speed.
	MaxDrift = 900_000
	// minStrobe is the shortest that the guard can keep up with.
	minStrobe = 10 * time.Millisecond
)

// Check says what is wrong with params, as far as that can be told on any machine.
func Check(b []byte) error {
	_, err := decodeParams(b, time.Now())
	return err
}

func decodeParams(b []byte, now time.Time) (Params, error) {
	var p Params
	if err := inject.DecodeStrict(b, &p); err != nil {
		return Params{}, fmt.Errorf("params: %w", err)
	}
	if err := p.Target.Validate(); err != nil {
		return Params{}, err
	}
	switch strings.ToLower(p.Clock) {
	case "", "realtime":
	case "monotonic", "monotonic_raw", "boottime":
		return Params{}, fmt.Errorf("clock %s: only wall clocks can be skewed: a monotonic clock that goes back makes running sleeps too long, "+
			"which nothing real does: %w", p.Clock, inject.ErrRefused)
	default:
		return Params{}, fmt.Errorf("params: clock is %q, want realtime", p.Clock)
	}
	return p, p.validate(now)
}

// validate refuses what is no skew, and times that a program cannot be shown: the
// kernel itself has no wall clock before 1970.
func (s Skew) validate(now time.Time) error {
	shown := now.Add(s.Offset)
	switch {
	case s.Offset == 0 && s.DriftPPM == 0:
		return errors.New("params: neither offset nor drift_ppm is given")
	case math.IsNaN(s.DriftPPM) || math.Abs(s.DriftPPM) > MaxDrift:
		return fmt.Errorf("params: drift_ppm is %g, at most %d in either direction", s.DriftPPM, MaxDrift)
	case s.Strobe != 0 && s.Strobe < minStrobe:
		return fmt.Errorf("params: strobe is %v, at least %v", s.Strobe, minStrobe)
	case shown.Before(time.Unix(0, 0)) || shown.After(time.Unix(0, math.MaxInt64)):
		return fmt.Errorf("params: offset is %v, the clock would show %d", s.Offset, shown.Year())
	}
	return nil
}

// String says it as people do: "+30s, drifting +200 ppm".
func (s Skew) String() string {
	var parts []string
	if s.Offset != 0 {
		sign := ""
		if s.Offset > 0 {
			sign = "+"
		}
		parts = append(parts, sign+s.Offset.String())
	}
	if s.DriftPPM != 0 {
		parts = append(parts, fmt.Sprintf("drifting %+g ppm", s.DriftPPM))
	}
	if s.Strobe != 0 {
		parts = append(parts, fmt.Sprintf("on and off every %v", s.Strobe))
	}
	return strings.Join(parts, ", ")
}

// raw is a record of the stub.
type raw struct {
	Expires    int64 // ns of CLOCK_MONOTONIC
	Seconds    int64
	Nanosecond int64 // 0 to 999999999
	Rate       int64 // in 2^-32
	Anchor     int64 // ns of the wall clock
}

// raw works out the record: expires is on the target's CLOCK_MONOTONIC, wall is the
// wall clock at which the drift begins.
func (s Skew) raw(expires int64, wall time.Time) raw {
	const second = int64(time.Second)
	r := raw{Expires: expires, Seconds: int64(s.Offset) / second, Nanosecond: int64(s.Offset) % second, Anchor: wall.UnixNano()}
	if r.Nanosecond < 0 {
		r.Nanosecond += second
		r.Seconds--
	}
	r.Rate = int64(math.Round(s.DriftPPM / 1e6 * (1 << 32)))
	return r
}
