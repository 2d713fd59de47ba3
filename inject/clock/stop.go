package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Limits of one stop, in which the target does nothing. A thread in
// uninterruptible sleep (waiting for a child after vfork, a hung disk) would make
// all others wait: they are let go and it is tried again.
const (
	stopLimit  = 100 * time.Millisecond
	retryPause = time.Millisecond
	retryLimit = 3 * time.Second
)

// errBusy: not at this moment, but it may be possible a little later.
var errBusy = errors.New("at a bad moment")

// stopped is a process of which every thread is stopped by this one.
type stopped struct {
	pid int
	// threads that were seized, with the signal that each was about to be given (0: none).
	threads map[int]unix.Signal
	// late are those of them that have not stopped yet.
	late map[int]bool
}

// errTraced: somebody else traces the process. A debugger stays; a guard that is just
// being killed does not.
var errTraced = fmt.Errorf("traced by another process: %w", inject.ErrRefused)

// whileStopped runs work while every thread of the process is stopped. If stopping
// or work fails with errBusy, the process runs on and it is tried again, until ctx
// ends or retryLimit passes; with patient, also if somebody else traces it.
//
// Should this process be killed in the middle, the kernel lets the threads run on:
// they were seized, not attached to with a SIGSTOP.
func whileStopped(ctx context.Context, p inject.Process, patient bool, work func(*stopped) error) error {
	ctx, cancel := context.WithTimeout(ctx, retryLimit)
	defer cancel()
	for {
		err := stopOnce(p, work)
		if !errors.Is(err, errBusy) && (!patient || !errors.Is(err, errTraced)) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d: %w", p.PID, err)
		case <-time.After(retryPause):
		}
	}
}

// stopOnce does it all on one OS thread: the kernel knows a tracer by its thread.
func stopOnce(p inject.Process, work func(*stopped) error) error {
	s := &stopped{pid: p.PID, threads: map[int]unix.Signal{}, late: map[int]bool{}}
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		// The thread's short waits are then as short as they say, not 50 µs longer.
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }() // the default
		err := s.run(p, work)
		s.release()
		result <- err
		s.releaseLate()
	}()
	return <-result
}

func (s *stopped) run(p inject.Process, work func(*stopped) error) error {
	if err := s.stop(time.Now().Add(stopLimit)); err != nil {
		return err
	}
	// Whoever is stopped cannot become another process any more.
	stat, err := inject.ReadStat(p.PID)
	if err == nil && (stat.Dead() || stat.StartTime != p.StartTime || len(s.threads) == 0) {
		err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	if err != nil {
		return err
	}
	return work(s)
}

// stop seizes and interrupts threads until a look finds no new one: all that could
// start another one are stopped by then.
func (s *stopped) stop(deadline time.Time) error {
	dir := "/proc/" + strconv.Itoa(s.pid) + "/task"
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return openError(s.pid, err)
		}
		var fresh []int
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			if _, have := s.threads[tid]; have {
				continue
			}
			switch ok, err := seize(tid); {
			case err != nil:
				return err
			case ok:
				s.threads[tid], s.late[tid] = 0, true
				fresh = append(fresh, tid)
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		for _, tid := range fresh {
			if err := s.await(tid, deadline); err != nil {
				return err
			}
		}
	}
}

// seize attaches to a thread and asks it to stop; ok is false if it has ended.
func seize(tid int) (ok bool, err error) {
	err = unix.PtraceSeize(tid)
	if err == nil {
		err = unix.PtraceInterrupt(tid)
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ESRCH):
		return false, nil
	}
	if s, e := inject.ReadStat(tid); e != nil || s.Dead() {
		return false, nil
	}
	by := tracer(tid)
	if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(by)); by != 0 && err == nil {
		return false, fmt.Errorf("thread %d is not let go yet: %w", tid, errBusy)
	} else if by != 0 {
		return false, fmt.Errorf("thread %d, by process %d: %w", tid, by, errTraced)
	}
	// Not permitted; or it was traced a moment ago and is not any more, which looks the same.
	return false, fmt.Errorf("%w: %w", openError(tid, fmt.Errorf("stop thread %d: %w", tid, err)), errBusy)
}

// await waits until a thread has stopped, or ended.
func (s *stopped) await(tid int, deadline time.Time) error {
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		if s.wait(tid, unix.WNOHANG) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("thread %d did not stop within %v: %w", tid, stopLimit, errBusy)
		}
		ts := unix.NsecToTimespec(int64(pause))
		_ = unix.Nanosleep(&ts, nil) // an early return is only a look too many
	}
}

// wait looks whether a thread has stopped, or ended; then it is not late any more.
func (s *stopped) wait(tid, options int) bool {
	var status unix.WaitStatus
	got, err := unix.Wait4(tid, &status, options|unix.WALL, nil)
	switch {
	case errors.Is(err, unix.EINTR) || err == nil && got == 0:
		return false
	case err != nil || !status.Stopped():
		delete(s.threads, tid) // it ended
	case int(status)>>16 != unix.PTRACE_EVENT_STOP:
		s.threads[tid] = status.StopSignal() // it was about to be given one, and gets it on release
	}
	delete(s.late, tid)
	return true
}

// release lets every thread run on that has stopped.
func (s *stopped) release() {
	for tid, signal := range s.threads {
		if !s.late[tid] {
			detach(tid, signal)
		}
	}
}

// releaseLate waits for the others, and lets each run on the moment that it stops.
func (s *stopped) releaseLate() {
	for tid := range s.late {
		for !s.wait(tid, 0) {
		}
		if signal, alive := s.threads[tid]; alive {
			detach(tid, signal)
		}
	}
}

func detach(tid int, signal unix.Signal) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(tid), 0, uintptr(signal), 0, 0)
	if errno == unix.ESRCH {
		// It was killed, and remains a zombie until its tracer has looked.
		_, _ = unix.Wait4(tid, nil, unix.WNOHANG|unix.WALL, nil)
	}
}

// tracer is the thread that traces a thread; 0 if none does.
func tracer(tid int) int {
	_, by := statusField(tid, "TracerPid:")
	return by
}
