//go:build vm

package nodeclock_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
)

// outsideStep: who sets the clock in between is respected, whether to the right time
// or by an amount, and the fault's rate is ended all the same.
func outsideStep(t *testing.T) {
	state := clockState(t)
	for name, x := range map[string]struct {
		p       nodeclock.Params
		by, end time.Duration // what is stepped by, and what remains
		word    string
	}{
		"to the right time":   {nodeclock.Params{Offset: 30 * time.Second}, -30 * time.Second, 0, "nothing to step"},
		"elsewhere":           {nodeclock.Params{Offset: 30 * time.Second}, 10 * time.Second, 40 * time.Second, "somebody else"},
		"during a drift":      {nodeclock.Params{Drift: 1000}, 10 * time.Second, 10 * time.Second, "somebody else"},
		"during both":         {nodeclock.Params{Offset: time.Minute, Drift: 1000}, -time.Hour, -59 * time.Minute, "somebody else"},
		"a strobe, elsewhere": {nodeclock.Params{Offset: time.Hour, Strobe: 10 * time.Second}, time.Minute, 61 * time.Minute, "somebody else"},
	} {
		f := allowed(t)
		p := plan(t, f, x.p)
		mustInject(t, f, p)
		if err := nodeclock.StepBy(x.by); err != nil {
			t.Fatal(err)
		}
		for _, f := range []inject.Fault{f, allowed(t)} {
			e := mustRevert(t, f, p)
			if !strings.Contains(e.Seen, x.word) {
				t.Errorf("%s: %+v, want a word of %q", name, e, x.word)
			}
			if d := off(t, p); (d - x.end).Abs() > 100*time.Millisecond {
				t.Errorf("%s: the clock is %v off, want %v", name, d, x.end)
			}
		}
		if now := clockState(t); x.end != 0 && strings.Split(now, ", status")[0] != strings.Split(state, ", status")[0] {
			t.Errorf("%s: the clock is %s, and was %s", name, now, state)
		}
		if err := nodeclock.StepBy(-x.end); err != nil {
			t.Fatal(err)
		}
	}
	resetState(t)
}

// outsideRate: a rate that somebody else has set is left.
func outsideRate(t *testing.T) {
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Drift: 1000})
	mustInject(t, f, p)
	if err := nodeclock.SetRate(77*65536, 10_000); err != nil {
		t.Fatal(err)
	}
	if e := mustRevert(t, f, p); !strings.Contains(e.Seen, "somebody else has set its rate to +77") {
		t.Errorf("revert: %+v", e)
	}
	if freq, tick, _, err := nodeclock.State(); err != nil || freq != 77*65536 || tick != 10_000 {
		t.Errorf("frequency %d, tick %d, %v", freq, tick, err)
	}
	resetState(t)
}

func resetState(t *testing.T) {
	if err := nodeclock.SetRate(0, 10_000); err != nil {
		t.Fatal(err)
	}
}
