//go:build vm

package nodeclock_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
	"github.com/lockaudit/lockaudit/lab/vm"
)

// TestVMClock disturbs the clock of virtual machines.
func TestVMClock(t *testing.T) {
	for _, k := range []vm.Kernel{vm.Bookworm, vm.Bullseye} {
		t.Run(string(k), func(t *testing.T) {
			vm.Suite(t, vm.Machine{Kernel: k}, []vm.Case{
				{Name: "support", Test: func(t *testing.T) {
					if ok, why := allowed(t).Support(); !ok {
						t.Errorf("support: %s", why)
					}
				}},
				{Name: "step", Test: step},
				{Name: "drift", Test: drift},
				{Name: "strobe", Test: strobed},
				{Name: "strobe and an outside step", Test: strobeAndOutsideStep},
				{Name: "hardware's clock", Test: unsynchronised},
				{Name: "outside step", Test: outsideStep},
				{Name: "outside rate", Test: outsideRate},
				{Name: "failure at every step", Test: failureAtEveryStep},
				{Name: "two", Test: two},
				{Name: "conformance", Test: func(t *testing.T) {
					for name, p := range map[string]nodeclock.Params{"step": {Offset: 30 * time.Second}, "drift": {Drift: 50_000}, "both": {Offset: -time.Hour, Drift: -50_000}} {
						t.Run(name, func(t *testing.T) {
							injecttest.Run(t, injecttest.Subject{
								New: func() inject.Fault { return allowed(t) }, Target: func(t *testing.T) injecttest.Target { return target(t, p) }, Single: true,
							})
						})
					}
				}},
			})
		})
	}
}

// allowed is a fault that may disturb the clock; never outside of a machine.
func allowed(t *testing.T) *nodeclock.Fault {
	t.Helper()
	if !vm.Inside() {
		t.Fatal("this would disturb the clock of the machine that runs the tests")
	}
	return nodeclock.New(nodeclock.Options{Allow: true})
}

// close is how far a reading may be off on an interpreted machine.
const close = 5 * time.Millisecond

func plan(t *testing.T, f inject.Fault, p nodeclock.Params) inject.Plan {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	pl, err := f.Prepare(t.Context(), inject.Spec{Kind: nodeclock.Kind, For: time.Minute, Params: b})
	if err != nil {
		t.Fatal(err)
	}
	pl.ID = "t"
	return pl
}

func off(t *testing.T, p inject.Plan) time.Duration {
	t.Helper()
	d, err := nodeclock.Off(p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustInject(t *testing.T, f inject.Fault, p inject.Plan) {
	t.Helper()
	if _, err := f.Inject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func mustRevert(t *testing.T, f inject.Fault, p inject.Plan) inject.Effect {
	t.Helper()
	e, err := f.Revert(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// asBefore checks the clock against the plan and its state against what it was.
func asBefore(t *testing.T, p inject.Plan, state, when string) {
	t.Helper()
	if d := off(t, p); d.Abs() > close {
		t.Errorf("%s: the clock is %v off", when, d)
	}
	if now := clockState(t); now != state {
		t.Errorf("%s: the clock is %s, and was %s", when, now, state)
	}
}

func clockState(t *testing.T) string {
	t.Helper()
	freq, tick, status, err := nodeclock.State()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("frequency %d, tick %d, status %#x", freq, tick, status)
}

func step(t *testing.T) {
	state := clockState(t)
	for _, d := range []time.Duration{30 * time.Second, -30 * time.Second, 24 * time.Hour, 4 * time.Millisecond, -1} {
		f := allowed(t)
		p := plan(t, f, nodeclock.Params{Offset: d})
		asBefore(t, p, state, "after prepare")
		before := time.Now().Round(0) // the wall clock, as programs see it
		mustInject(t, f, p)
		if got := off(t, p); (got - d).Abs() > close {
			t.Errorf("%v: the clock is %v off", d, got)
		}
		if d.Abs() > time.Second {
			if got := time.Now().Round(0).Sub(before); (got - d).Abs() > 10*time.Second {
				t.Errorf("%v: programs see %v", d, got)
			}
		}
		mustRevert(t, f, p)
		asBefore(t, p, state, "after revert of "+d.String())
		mustRevert(t, f, p)
		mustRevert(t, allowed(t), p)
		asBefore(t, p, state, "after the third revert of "+d.String())
	}
}

// drift by the frequency alone, and by the tick: the clock gains as ordered, and
// loses what it has gained.
func drift(t *testing.T) {
	state := clockState(t)
	for _, ppm := range []float64{400, -400, 100_000, -100_000, 12_345} {
		f := allowed(t)
		p := plan(t, f, nodeclock.Params{Drift: ppm})
		mustInject(t, f, p)
		start, err := nodeclock.Read()
		if err != nil {
			t.Fatal(err)
		}
		var now nodeclock.Reading
		for now.Raw < start.Raw+500e6 { // half a second, by the clock that is not disturbed
			if now, err = nodeclock.Read(); err != nil {
				t.Fatal(err)
			}
		}
		elapsed := float64(now.Raw - start.Raw)
		if got := (float64(now.Real-start.Real)/elapsed - 1) * 1e6; got < ppm-200 || got > ppm+200 {
			t.Errorf("%+g ppm: it runs %+.1f ppm off", ppm, got)
		}
		mustRevert(t, f, p)
		asBefore(t, p, state, fmt.Sprintf("after revert of %+g ppm", ppm))
		mustRevert(t, allowed(t), p)
		asBefore(t, p, state, fmt.Sprintf("after a second revert of %+g ppm", ppm))
	}
}

func failureAtEveryStep(t *testing.T) {
	state := clockState(t)
	forced := errors.New("forced")
	for _, at := range []string{"paused", "rate", "offset"} {
		for _, other := range []bool{false, true} {
			f := allowed(t).FailAt(at, forced)
			p := plan(t, f, nodeclock.Params{Offset: time.Hour, Drift: 1000})
			if _, err := f.Inject(t.Context(), p); !errors.Is(err, forced) {
				t.Errorf("%s: inject: %v", at, err)
			}
			if other {
				f = allowed(t)
			}
			mustRevert(t, f, p)
			asBefore(t, p, state, "after revert of a failure at "+at)
		}
	}
}

// two: a second disturbance is refused, also one that was planned on top of the first,
// and its revert does not end the first.
func two(t *testing.T) {
	state := clockState(t)
	f := allowed(t)
	first, before := plan(t, f, nodeclock.Params{Offset: time.Hour}), plan(t, f, nodeclock.Params{Offset: time.Minute})
	mustInject(t, f, first)
	for _, second := range []inject.Plan{before, plan(t, f, nodeclock.Params{Offset: time.Minute})} {
		second.ID = "u"
		if _, err := f.Inject(t.Context(), second); !errors.Is(err, inject.ErrRefused) {
			t.Errorf("a second one: %v, want %v", err, inject.ErrRefused)
		}
		mustRevert(t, f, second)
		if d := off(t, first); (d - time.Hour).Abs() > close {
			t.Errorf("after the second one's revert the clock is %v off", d)
		}
	}
	mustRevert(t, f, first)
	asBefore(t, first, state, "after revert")
}

// target is the clock: there is one.
func target(t *testing.T, p nodeclock.Params) injecttest.Target {
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	reference, state := plan(t, allowed(t), nodeclock.Params{Offset: 1}), clockState(t)
	return injecttest.Target{Params: b, Snapshot: func() string {
		now := clockState(t)
		if p.Drift != 0 && now != state {
			return now // how far it is off changes by itself
		}
		return fmt.Sprintf("%v off, %s", off(t, reference).Round(2*close), now)
	}}
}
