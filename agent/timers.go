package agent

import (
	"container/heap"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// timers runs functions at instants of CLOCK_MONOTONIC_RAW on one OS thread of
// its own, with a high priority where that is permitted: the Go scheduler's
// own timers are off by more than a millisecond on a busy machine.
type timers struct {
	mu     sync.Mutex
	queue  timerQueue
	fd     int
	closed bool
	done   chan struct{}
}

type timer struct {
	at    time.Duration
	fire  func()
	index int // in the queue, -1 outside
}

func newTimers() (*timers, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timerfd: %w", err)
	}
	t := &timers{fd: fd, done: make(chan struct{})}
	go t.run()
	return t, nil
}

// set runs fire on the timer thread at the given instant. fire must be quick:
// the next deadline waits for it.
func (t *timers) set(at time.Duration, fire func()) *timer {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := &timer{at: at, fire: fire}
	heap.Push(&t.queue, x)
	t.arm()
	return x
}

func (t *timers) stop(x *timer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x != nil && x.index >= 0 {
		heap.Remove(&t.queue, x.index)
		t.arm()
	}
}

// close returns when the thread is gone; what is still queued never runs.
func (t *timers) close() {
	t.mu.Lock()
	t.closed = true
	t.arm()
	t.mu.Unlock()
	<-t.done
	unix.Close(t.fd)
}

// nap is how long to sleep on CLOCK_MONOTONIC towards an instant of
// CLOCK_MONOTONIC_RAW, on which no timer runs. That clock may be slewed by up to 10 %,
// so it is nine tenths of the way, after which to measure again, down to 2 ms.
func nap(left time.Duration) time.Duration {
	if left > 2*time.Millisecond {
		left = left * 9 / 10
	}
	return max(left, 0)
}

// arm programs the next wake-up.
func (t *timers) arm() {
	var spec unix.ItimerSpec // zero disarms
	switch {
	case t.closed:
		spec.Value = unix.NsecToTimespec(1)
	case len(t.queue) > 0:
		at := monoNow() + nap(t.queue[0].at-rawNow())
		spec.Value = unix.NsecToTimespec(max(int64(at), 1))
	}
	// Fails only on a bad descriptor or time; neither can be.
	_ = unix.TimerfdSettime(t.fd, unix.TFD_TIMER_ABSTIME, &spec, nil)
}

func (t *timers) run() {
	defer close(t.done)
	runtime.LockOSThread() // never unlocked: the priority must die with the thread
	prefer()
	var buf [8]byte
	for {
		if _, err := unix.Read(t.fd, buf[:]); err != nil && err != unix.EINTR {
			panic("read timerfd: " + err.Error()) // the kernel then ends every fault
		}
		for {
			fire := t.due()
			if fire == nil {
				break
			}
			fire()
		}
		if t.rearm() {
			return
		}
	}
}

func (t *timers) rearm() (closed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arm()
	return t.closed
}

// due takes the first timer out of the queue if its time has come.
func (t *timers) due() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.queue) == 0 || t.queue[0].at > rawNow() {
		return nil
	}
	return heap.Pop(&t.queue).(*timer).fire
}

// prefer asks for SCHED_FIFO at the lowest real-time priority, which is above
// every ordinary thread. Without the permission it stays as it was: deadlines are
// then kept less exactly.
func prefer() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
}

// preferGroup raises the guard among the sessions of the machine. With autogroups
// (CONFIG_SCHED_AUTOGROUP) a session is scheduled as one, and a nice value counts
// only inside it: beside a few busy processes, a guard with a session of its own
// was seen to wait for a core for 1.5 s. A nice value is a thread's own on Linux, whatever
// POSIX says, and a new thread has that of the one that starts it.
func preferGroup() {
	_ = os.WriteFile("/proc/self/autogroup", []byte("-20"), 0)
	for again := true; again; { // one may have been started by a thread that was not raised yet
		again = false
		threads, _ := os.ReadDir("/proc/self/task")
		for _, th := range threads {
			tid, err := strconv.Atoi(th.Name())
			if err != nil {
				continue
			}
			// The system call answers 20 minus the nice value.
			if now, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err != nil || now == 40 {
				continue
			}
			switch err := unix.Setpriority(unix.PRIO_PROCESS, tid, -20); err {
			case nil:
				again = true
			case unix.ESRCH:
			default:
				return // without the permission it stays as it was
			}
		}
	}
}

type timerQueue []*timer

func (q timerQueue) Len() int           { return len(q) }
func (q timerQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q timerQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *timerQueue) Push(x any) {
	t := x.(*timer)
	t.index = len(*q)
	*q = append(*q, t)
}

func (q *timerQueue) Pop() any {
	old := *q
	t := old[len(old)-1]
	t.index = -1
	*q = old[:len(old)-1]
	return t
}
