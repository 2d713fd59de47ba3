//go:build vm

package nodeclock_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/nodeclock"

	"golang.org/x/sys/unix"
)

func strobed(t *testing.T) {
	state := clockState(t)
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Offset: 30 * time.Second, Strobe: 50 * time.Millisecond})
	mustInject(t, f, p)
	seen := map[time.Duration]int{}
	last := time.Duration(-1)
	for end := time.Now().Add(20 * time.Second); seen[0] < 3 || seen[30*time.Second] < 3; {
		if time.Now().After(end) {
			t.Fatalf("the clock does not come and go: %v", seen)
		}
		if d := off(t, p).Round(time.Second); d != last {
			seen[d]++
			last = d
		}
	}
	if len(seen) != 2 {
		t.Errorf("the clock was elsewhere: %v", seen)
	}
	mustRevert(t, f, p)
	stays(t, p, 0, "after revert")
	asBefore(t, p, state, "after revert")
	f = allowed(t)
	mustInject(t, f, p)
	mustRevert(t, allowed(t), p) // as a restarted guard does; f's own strobe then stops by itself
	mustRevert(t, f, p)
	asBefore(t, p, state, "after revert by another")
}

// strobeAndOutsideStep: a strobe ends by itself once somebody else sets the clock, and
// steps theirs no more.
func strobeAndOutsideStep(t *testing.T) {
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Offset: 30 * time.Second, Strobe: 20 * time.Millisecond})
	mustInject(t, f, p)
	if err := nodeclock.StepBy(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	at := off(t, p).Round(time.Second) // wherever the strobe had it
	if at != 10*time.Second && at != 40*time.Second {
		t.Fatalf("after a step of 10 s the clock is %v off", at)
	}
	stays(t, p, at, "after an outside step")
	if e := mustRevert(t, f, p); !strings.Contains(e.Seen, "somebody else") {
		t.Errorf("revert: %+v", e)
	}
	stays(t, p, at, "after revert")
	if err := nodeclock.StepBy(-at); err != nil {
		t.Fatal(err)
	}
}

// stays watches the clock for longer than a strobe waits.
func stays(t *testing.T, p inject.Plan, want time.Duration, when string) {
	t.Helper()
	for start := inject.Now(); inject.Now() < start+200*time.Millisecond; {
		if d := off(t, p); (d - want).Abs() > 50*time.Millisecond {
			t.Fatalf("%s: the clock is %v off, want %v", when, d, want)
		}
	}
}

// unsynchronised: while it is wrong the clock counts as unsynchronised, so that the
// kernel does not write it to the hardware's; and as synchronised again afterwards.
func unsynchronised(t *testing.T) {
	for name, x := range map[string]nodeclock.Params{"step": {Offset: time.Hour}, "drift": {Drift: 1000}} {
		if err := nodeclock.Synchronise(); err != nil {
			t.Fatal(err)
		}
		state := clockState(t)
		f := allowed(t)
		p := plan(t, f, x)
		mustInject(t, f, p)
		if _, _, status, err := nodeclock.State(); err != nil || status&unix.STA_UNSYNC == 0 {
			t.Errorf("%s: status %#x, %v", name, status, err)
		}
		mustRevert(t, f, p)
		asBefore(t, p, state, name)
		if _, _, status, err := nodeclock.State(); err != nil || status&unix.STA_UNSYNC != 0 {
			t.Errorf("%s: after revert status %#x, %v", name, status, err)
		}
	}
}
