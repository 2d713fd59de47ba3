package pause

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// tracing stops processes by ptrace. One tracer holds them all, for as long as
// they are stopped.
type tracing struct {
	mu     sync.Mutex // of its start
	tracer *tracer
}

func (*tracing) words() string { return "in state t by ptrace" }

func (w *tracing) ready(p inject.Process) error {
	if err := w.begin(); err != nil {
		return err
	}
	s, err := inject.ReadStat(p.PID)
	if err == nil && s.StartTime != p.StartTime {
		err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	if err == nil && s.Stopped() {
		err = fmt.Errorf("process %d (%s) is stopped already: %w", p.PID, s.Comm, inject.ErrRefused)
	}
	if err != nil {
		return err
	}
	return refuseTraced(p.PID)
}

func (w *tracing) order(p inject.Process) error {
	return w.tracer.do(func(t *seized) error { return t.seize(p) })
}

func (w *tracing) begin() (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tracer == nil {
		w.tracer, err = newTracer()
	}
	return err
}

// look seizes what is new on the way: a thread that was being started when its
// process was ordered to stop.
func (w *tracing) look(p inject.Process) (look, error) {
	l, err := threads(p, false)
	if l.stopped || l.gone || err != nil || w.tracer == nil {
		return l, err
	}
	err = w.order(p)
	if errors.Is(err, inject.ErrGone) {
		return look{gone: true}, nil
	}
	return l, err
}

// resume ends the tracer, by which the kernel lets everything run that it holds.
func (w *tracing) resume(ctx context.Context, procs []inject.Process) (inject.Effect, error) {
	if w.tracer != nil {
		w.tracer.end()
		w.tracer = nil
	}
	return released(ctx, procs, os.Getpid())
}

func (*tracing) forget(inject.Process) {} // its tracer has ended with the stop

func (w *tracing) close() {
	if w.tracer != nil {
		w.tracer.end()
		w.tracer = nil
	}
}

// released reads back that no thread of the processes is held by a tracer of that
// process any more. Other tracers, and other stops, are not ours.
func released(ctx context.Context, procs []inject.Process, by int) (inject.Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, resumeWait)
	defer cancel()
	run, ended, others := 0, 0, 0
	for _, p := range procs {
		err := wait(ctx, func() (bool, error) {
			s, err := inject.ReadStat(p.PID)
			if errors.Is(err, inject.ErrGone) || err == nil && (s.StartTime != p.StartTime || s.Dead()) {
				ended++
				return true, nil
			}
			if err != nil {
				return false, err
			}
			held, err := tracedBy(p.PID, by)
			if err != nil || held != 0 {
				return false, err
			}
			if refuseTraced(p.PID) != nil {
				others++
			} else {
				run++
			}
			return true, nil
		}, "process %d is still traced by process %d", p.PID, by)
		if err != nil {
			return inject.Effect{}, err
		}
	}
	e := inject.Effect{Seen: fmt.Sprintf("%d of %d processes run", run, len(procs)), Count: run}
	if ended > 0 {
		e.Seen += fmt.Sprintf(", %d ended", ended)
	}
	if others > 0 {
		e.Seen += fmt.Sprintf(", %d traced by others", others)
	}
	return e, nil
}

// tracedBy returns the thread of a process that traces one of another's threads;
// 0 if there is none.
func tracedBy(pid, by int) (int, error) {
	tids, err := tasks(pid)
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		if s, err := inject.ReadStat(tid); err != nil || s.Dead() {
			continue
		}
		if tracer := statusNumber(tid, "TracerPid:"); tracer != 0 && statusNumber(tracer, "Tgid:") == by {
			return tracer, nil
		}
	}
	return 0, nil
}

// refuseTraced refuses what a debugger has, by its name.
func refuseTraced(pid int) error {
	tids, err := tasks(pid)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		by := statusNumber(tid, "TracerPid:")
		if by == 0 {
			continue
		}
		s, _ := inject.ReadStat(by)
		return fmt.Errorf("process %d is traced already, by process %d (%s): %w", pid, by, s.Comm, inject.ErrRefused)
	}
	return nil
}

// traceable checks, without touching it, that the kernel lets us trace a process:
// the same rule guards its memory.
func traceable(m member) error {
	if err := refuseTraced(m.PID); err != nil {
		return err
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(m.PID)+"/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
		unix.Close(fd)
		return nil
	case unix.ENOENT, unix.ESRCH:
		return fmt.Errorf("process %d: %w", m.PID, inject.ErrGone)
	}
	return fmt.Errorf("trace process %d (%s): %w; CAP_SYS_PTRACE is needed, and kernel.yama.ptrace_scope below 3: %w", m.PID, m.Comm, err, inject.ErrUnsupported)
}

// tasks lists the threads of a process; none if it is gone.
func tasks(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil && !notThere(err) {
		return nil, fmt.Errorf("read threads of %d: %w", pid, err)
	}
	var out []int
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, tid)
		}
	}
	return out, nil
}

// statusNumber reads one number of a thread's status; 0 if it is gone.
func statusNumber(tid int, field string) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "\n"+field)
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.Atoi(strings.TrimSpace(line))
	return n
}
