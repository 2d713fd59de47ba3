package agent

import (
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// calm is how long nothing must have been in effect before a process gives back what the
// last faults have made it take. It is longer than what an audit waits between two of its
// faults, so that none of them pays for it: to lock again takes half a millisecond.
const calm = 30 * time.Second

// repose keeps a process small while it does nothing, which is nearly always, and a guard
// locked in memory while it has something to revert, which is when it must be.
type repose struct {
	after time.Duration
	idle  func() bool // nothing is in effect
	timer *time.Timer

	mu     sync.Mutex
	locked bool
}

func newRepose(after time.Duration, idle func() bool) *repose {
	if after == 0 {
		after = calm
	}
	r := &repose{after: after, idle: idle}
	r.timer = time.AfterFunc(after, r.rest)
	return r
}

// lock returns with this process locked in memory, where that is permitted. What is about
// to be in effect must count as such already: then no rest unlocks it again.
func (r *repose) lock() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.locked {
		r.locked = true
		lockMemory()
	}
}

// soon has it rest when nothing was in effect for a while from now on.
func (r *repose) soon() { r.timer.Reset(r.after) }

func (r *repose) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.idle() {
		return // whoever ends that calls soon
	}
	if r.locked {
		_ = unix.Munlockall() // fails never
		r.locked = false
	}
	debug.FreeOSMemory()
	giveBack()
}

func (r *repose) close() { r.timer.Stop() }
