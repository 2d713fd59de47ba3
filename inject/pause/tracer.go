package pause

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// tracer is an OS thread that traces, which only the thread itself can do. When it
// ends, alone or with its process, the kernel lets run whatever it has stopped.
type tracer struct {
	work chan func(*seized)
	quit chan struct{}
	done chan struct{}
	bell *os.File
}

// tracerName is the beginning of the thread's name. The rest is the number of its
// bell, an eventfd: whoever may trace this process can fetch it by that number and
// ring, and the thread ends. So another process can heal what this one holds, as
// it can with the other methods.
const tracerName = "lockaudit-t"

// reapEvery is how often the tracer looks for targets that were killed: their
// parents hear of it only then.
const reapEvery = 50 * time.Millisecond

func newTracer() (*tracer, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start tracer: %w", err)
	}
	t := &tracer{work: make(chan func(*seized)), quit: make(chan struct{}), done: make(chan struct{}), bell: os.NewFile(uintptr(fd), "bell")}
	rung := make(chan struct{})
	go func() {
		defer close(rung)
		var b [8]byte
		_, _ = t.bell.Read(b[:]) // ends with the bell, or when it is closed
	}()
	go t.run(fd, rung)
	return t, nil
}

func (t *tracer) run(bell int, rung chan struct{}) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the function
	if unix.Gettid() == unix.Getpid() {
		// Go never ends the main thread. While it is occupied here, the next one gets
		// another.
		go t.run(bell, rung)
		<-t.done
		runtime.UnlockOSThread()
		return
	}
	defer close(t.done)
	_ = os.WriteFile("/proc/thread-self/comm", []byte(tracerName+strconv.Itoa(bell)), 0)
	s := &seized{threads: map[int]bool{}}
	reap := time.NewTicker(reapEvery)
	defer reap.Stop()
	for {
		select {
		case f := <-t.work:
			f(s)
		case <-reap.C:
			s.reap()
		case <-rung:
			return
		case <-t.quit:
			return
		}
	}
}

// do runs f on the thread.
func (t *tracer) do(f func(*seized) error) error {
	result := make(chan error, 1)
	select {
	case t.work <- func(s *seized) { result <- f(s) }:
		return <-result
	case <-t.done:
		return errors.New("the tracer has been ended from outside")
	}
}

// end lets everything run. The thread itself ends a moment after; that is for the
// caller to read back.
func (t *tracer) end() {
	close(t.quit)
	<-t.done
	_ = t.bell.Close()
}

// seized are the threads that this one traces.
type seized struct {
	threads map[int]bool // true: a child of this process, which its own Wait reaps
}

// seize attaches to every thread of a process that is not seized yet and has it
// stop. Unlike PTRACE_ATTACH it sends no signal, so nothing is left to be
// delivered when the tracer dies.
func (s *seized) seize(p inject.Process) error {
	tids, err := tasks(p.PID)
	if err != nil {
		return err
	}
	found := false
	for _, tid := range tids {
		if _, have := s.threads[tid]; have {
			found = true
			continue
		}
		err := unix.PtraceSeize(tid)
		if err == nil {
			err = unix.PtraceInterrupt(tid)
		}
		if err != nil {
			stat, gone := inject.ReadStat(tid)
			if errors.Is(err, unix.ESRCH) || gone != nil || stat.Dead() {
				continue // it has ended
			}
			if e := refuseTraced(p.PID); e != nil {
				return e
			}
			return fmt.Errorf("trace thread %d (%s): %w", tid, stat.Comm, err)
		}
		// Seized it cannot become another process any more.
		stat, err := inject.ReadStat(p.PID)
		if err != nil || stat.StartTime != p.StartTime {
			_ = unix.PtraceDetach(tid)
			return fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
		}
		s.threads[tid], found = stat.PPID == unix.Getpid(), true
	}
	if !found {
		return fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	return nil
}

// reap waits for what has been killed, so that its parent can.
func (s *seized) reap() {
	for tid, own := range s.threads {
		stat, err := inject.ReadStat(tid)
		if err == nil && !stat.Dead() {
			continue
		}
		if !own {
			_, _ = unix.Wait4(tid, nil, unix.WNOHANG|unix.WALL, nil)
		}
		delete(s.threads, tid)
	}
}

// ring has the tracer of another life, or another process, let go: tid is its
// thread, pid its process.
func ring(pid, tid int) error {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/comm")
	if err != nil {
		return err
	}
	number, ours := strings.CutPrefix(strings.TrimSpace(string(b)), tracerName)
	fd, err := strconv.Atoi(number)
	if !ours || err != nil {
		return fmt.Errorf("thread %d (%s) is not a tracer of ours: %w", tid, strings.TrimSpace(string(b)), inject.ErrRefused)
	}
	proc, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	bell, err := unix.PidfdGetfd(proc, fd, 0)
	if err != nil {
		return err
	}
	defer unix.Close(bell)
	_, err = unix.Write(bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}
