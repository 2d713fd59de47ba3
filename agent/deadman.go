package agent

import (
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// deadman is a dead man's switch: a kernel timer that kills this process when one
// of its faults is overdue. Guard and agent watch each other, but if both are
// stopped (a debugger, a frozen cgroup, SIGSTOP) nobody is left to act, and what
// the guard holds would last until somebody continues it. SIGKILL takes effect on
// a stopped process too and needs no instruction of it; with the process goes all
// that it holds: resume pipes, owned tables, traced processes.
//
// It is the last resort, and late enough for everything else to come first.
type deadman struct {
	id int32 // kernel_timer_t

	mu  sync.Mutex
	due map[string]time.Duration
}

const (
	// guardSlack is how long after a deadline a guard is killed by the kernel. The
	// agent kills it after one grace, or two if it was held up itself.
	guardSlack = 4 * grace
	// agentSlack is the same of the agent. A stopped agent holds nothing in effect;
	// its end tells the auditor, ends the clients and frees the state directory for
	// heal, so there is no hurry, and a machine that stood still may catch up.
	agentSlack = patience
	// recovering is what an agent allows the next guard until its first word.
	recovering = 6*patience + inject.MaxPatience
)

func newDeadman() (*deadman, error) {
	// struct sigevent of asm-generic/siginfo.h is 64 bytes: value, signo, notify.
	// A zero notify is SIGEV_SIGNAL.
	var ev struct {
		value         uint64
		signo, notify int32
		_             [48]byte
	}
	ev.signo = int32(unix.SIGKILL)
	d := &deadman{due: map[string]time.Duration{}}
	if _, _, e := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&d.id))); e != 0 {
		return nil, fmt.Errorf("create dead man's switch: %w", e)
	}
	return d, nil
}

// expect says that a fault is over at an instant of CLOCK_MONOTONIC_RAW, or this
// process is killed. A later call for the same fault replaces the earlier.
func (d *deadman) expect(fault string, at time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due[fault] = at
	d.arm()
}

// met says that a fault is over.
func (d *deadman) met(fault string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.due, fault)
	d.arm()
}

// close disarms it; the kernel forgets it with the process.
func (d *deadman) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.due)
	d.arm()
	_, _, _ = unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(d.id), 0, 0)
}

// arm sets the timer for what is due first: not the last, or a stopped guard would
// hold a short fault as long as the longest. Every change arms it anew, also those
// of a node clock's rate, because they are faults themselves.
func (d *deadman) arm() {
	var spec unix.ItimerSpec // zero disarms
	first := time.Duration(-1)
	for _, at := range d.due {
		if first < 0 || at < first {
			first = at
		}
	}
	if first >= 0 {
		at := monoNow() + onMonotonic(max(first-rawNow(), 0), clockRate())
		spec.Value = unix.NsecToTimespec(max(int64(at), 1))
	}
	// Fails only on a bad timer or time; neither can be.
	_, _, _ = unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(d.id), unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

// clockRate is how fast CLOCK_MONOTONIC runs now against CLOCK_MONOTONIC_RAW, on
// which no kernel timer can be: 0.9 to 1.1 under a drift fault. It only reads.
func clockRate() float64 {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return 1
	}
	return rateOf(t.Tick, t.Freq)
}

// rateOf takes microseconds per 10 ms tick, and 2^-16 parts per million.
func rateOf(tick, freq int64) float64 {
	return float64(tick) / 10_000 * (1 + float64(freq)/65_536e6)
}

// onMonotonic converts a stretch of CLOCK_MONOTONIC_RAW. The rate may change by
// 500 ppm while nobody looks, because an NTP daemon corrects the clock; then it is
// rather too long: too short would end a fault that is not overdue.
func onMonotonic(raw time.Duration, rate float64) time.Duration {
	return time.Duration(float64(raw) * rate * 1.001)
}
