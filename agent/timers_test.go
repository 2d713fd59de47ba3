package agent

import (
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// TestExpireBehindSlowRevert: a fault whose revert is going on when its deadline comes does not
// keep the timer thread from the deadlines of the others.
func TestExpireBehindSlowRevert(t *testing.T) {
	g := &guard{}
	h := &held{fault: Fault{Plan: inject.Plan{Spec: inject.Spec{For: time.Second}}}}
	h.mu.Lock() // it is being reverted
	back := make(chan struct{})
	go func() {
		g.expire(h) // as the timer thread does
		close(back)
	}()
	select {
	case <-back:
	case <-time.After(20 * time.Second):
		t.Error("the timer thread waits for the revert")
	}
	h.over = true // and now it is
	h.mu.Unlock()
	<-back
}

// TestNap: a sleep on CLOCK_MONOTONIC never goes past its instant of CLOCK_MONOTONIC_RAW while
// that clock is a tenth slow, and a few sleeps are enough.
func TestNap(t *testing.T) {
	const slow = 0.9
	left, n := time.Hour, 0
	for left > 2*time.Millisecond {
		left -= time.Duration(float64(nap(left)) / slow)
		if n++; left < -time.Millisecond || n > 100 {
			t.Fatalf("after %d sleeps %v are left", n, left)
		}
	}
	if d := nap(-time.Second); d != 0 {
		t.Errorf("of an instant that is over: %v", d)
	}
}
