package nodeclock

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// TestJudge reckons with made-up readings: nothing here touches a clock.
func TestJudge(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, x := range []struct {
		name string
		p    Params
		off  time.Duration // of the clock, after 10 s
		fast bool
		want finding
	}{
		{"a step is there", Params{Offset: 30 * s}, 30 * s, false, ours},
		{"and slewed by another", Params{Offset: 30 * s}, 30*s + 5*ms, false, ours},
		{"a step back is there", Params{Offset: -30 * s}, -30 * s, false, ours},
		{"a step is not there", Params{Offset: 30 * s}, 0, false, unmoved},
		{"or is no more, and slewed", Params{Offset: 30 * s}, 5 * ms, false, unmoved},
		{"set elsewhere", Params{Offset: 30 * s}, 10 * s, false, foreign},
		{"stepped relatively", Params{Offset: 30 * s}, 40 * s, false, foreign},
		{"a small step is there", Params{Offset: 4 * ms}, 4 * ms, false, ours},
		{"a small step is not there", Params{Offset: 4 * ms}, 0, false, unmoved},
		{"drift has done all", Params{Drift: 1000}, 10 * ms, true, ours},
		{"drift has been ended", Params{Drift: 10_000}, 50 * ms, false, ours},
		{"drift was never there", Params{Drift: 10_000}, 3 * ms, false, unmoved},
		{"drift has hardly begun", Params{Drift: 10_000}, 0, true, ours},
		{"drift, set elsewhere", Params{Drift: 10_000}, 5 * s, true, foreign},
		{"drift, set back", Params{Drift: 10_000}, -5 * s, true, foreign},
		{"both", Params{Offset: 30 * s, Drift: 10_000}, 30*s + 100*ms, true, ours},
		{"both, before the step", Params{Offset: 30 * s, Drift: 10_000}, 0, true, ours},
		{"both, set elsewhere", Params{Offset: 30 * s, Drift: 10_000}, 10 * s, true, foreign},
		{"slow", Params{Drift: -10_000}, -100 * ms, true, ours},
	} {
		u := undo{Anchor: sample{Real: 1e18, Raw: 5e9, Asleep: 7e9}, Timex: timex{Freq: 20 * 65536, Tick: 10_000}}
		// 10 s at +20 ppm, and 3 s of sleep.
		now := sample{Raw: 15e9, Asleep: 10e9, Real: 1e18 + 10e9 + 200_000 + 3e9 + int64(x.off)}
		if got, off := u.judge(x.p, now, x.fast); got != x.want || off != x.off {
			t.Errorf("%s: %v, %v, want %v, %v", x.name, got, off, x.want, x.off)
		}
	}
}

func TestRate(t *testing.T) {
	for _, x := range []struct {
		own   timex
		drift float64
		fails bool
	}{
		{timex{Tick: 10_000}, 500, false}, {timex{Tick: 10_000}, -500, false}, {timex{Tick: 10_000}, 0.01, false},
		{timex{Tick: 10_000}, 501, false}, {timex{Tick: 10_000}, 100_000, false}, {timex{Tick: 10_000}, -100_000, false},
		{timex{Tick: 10_000, Freq: 300 * 65536}, 400, false}, {timex{Tick: 9_995, Freq: -7 * 65536}, 1234.5, false},
		{timex{Tick: 10_900}, 20_000, true}, {timex{Tick: 9_100}, -20_000, true},
	} {
		freq, tick, err := x.own.rate(x.drift)
		if (err != nil) != x.fails || x.fails && !errors.Is(err, inject.ErrRefused) {
			t.Errorf("%+v %+g: %v", x.own, x.drift, err)
			continue
		}
		got := timex{Freq: freq, Tick: tick}.ppm() - x.own.ppm()
		if !x.fails && (math.Abs(got-x.drift) > 1e-4 || freq > 500*65536 || freq < -500*65536) {
			t.Errorf("%+v %+g: frequency %d and tick %d make %+g", x.own, x.drift, freq, tick, got)
		}
	}
}
