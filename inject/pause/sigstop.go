package pause

import (
	"context"
	"errors"
	"fmt"

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
	if err = errors.Join(append(errs, err)...); err != nil {
		return e, err
	}
	for _, t := range w.wires {
		t.ordered = false
	}
	return w.look(procs)
}

// look reads back every process once more, those included that were not stopped at
// this moment: between two stops of a stutter that is all of them. What is stopped
// now is so by others, and left to them.
func (w *signalling) look(procs []inject.Process) (inject.Effect, error) {
	run, ended, others := 0, 0, 0
	for _, p := range procs {
		switch stopped, gone, err := threads(p, false); {
		case err != nil:
			return inject.Effect{}, err
		case gone:
			ended++
		case stopped:
			others++
		default:
			run++
		}
	}
	e := inject.Effect{Seen: fmt.Sprintf("%d of %d processes run", run, len(procs)), Count: run}
	if ended > 0 {
		e.Seen += fmt.Sprintf(", %d ended", ended)
	}
	if others > 0 {
		e.Seen += fmt.Sprintf(", %d stopped by somebody else and left so", others)
	}
	return e, nil
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
