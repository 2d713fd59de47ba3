package pause

import (
	"context"
	"errors"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// signalling stops processes with SIGSTOP.
type signalling struct {
	wires map[inject.Process]*signalled
}

func (*signalling) words() string { return "in state T by SIGSTOP" }

// ready wires a process once. What others stop between two stops of a stutter is
// left to them for that time.
func (w *signalling) ready(p inject.Process) error {
	if t := w.wires[p]; t != nil {
		s, err := inject.ReadStat(p.PID)
		t.others = err == nil && s.Stopped()
		return nil
	}
	t, err := wire(p)
	if err == nil {
		w.wires[p] = t
	}
	return err
}

func (w *signalling) order(p inject.Process) error {
	t := w.wires[p]
	if t.others {
		return nil
	}
	err := t.signal(unix.SIGSTOP)
	t.ordered = t.ordered || err == nil
	return err
}

func (*signalling) stopped(p inject.Process) (stopped, gone bool, err error) { return threads(p, true) }

// resume sends the signal first and does everything else afterwards: this is the
// end of the pause.
func (w *signalling) resume(ctx context.Context, procs []inject.Process) (inject.Effect, error) {
	var errs []error
	mine := procs[:0:0]
	for _, p := range procs {
		t := w.wires[p]
		if !t.ordered {
			continue
		}
		mine = append(mine, p)
		if err := t.signal(unix.SIGCONT); err != nil && !errors.Is(err, inject.ErrGone) {
			errs = append(errs, err)
		}
	}
	e, err := running(ctx, mine)
	if err = errors.Join(append(errs, err)...); err == nil {
		for _, t := range w.wires {
			t.ordered = false
		}
	}
	return e, err
}

func (w *signalling) forget(p inject.Process) {
	w.wires[p].close()
	delete(w.wires, p)
}

func (w *signalling) close() {
	for _, t := range w.wires {
		t.close()
	}
	clear(w.wires)
}
