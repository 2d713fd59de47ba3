package pause

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// signalling stops processes with SIGSTOP.
type signalling struct {
	mu    sync.Mutex // of the map
	wires map[inject.Process]*signalled
}

func newSignalling() *signalling { return &signalling{wires: map[inject.Process]*signalled{}} }

func (w *signalling) of(p inject.Process) *signalled {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wires[p]
}

func (*signalling) words() string { return "in state T by SIGSTOP" }

// ready wires a process once. What others stop between two stops of a stutter is
// left to them for that time.
func (w *signalling) ready(p inject.Process) error {
	if t := w.of(p); t != nil {
		s, err := t.stat.Read()
		t.others = err == nil && s.Stopped()
		return nil
	}
	t, err := wire(p)
	if err == nil {
		w.mu.Lock()
		w.wires[p] = t
		w.mu.Unlock()
	}
	return err
}

func (w *signalling) order(p inject.Process) error {
	t := w.of(p)
	if t.others {
		return nil
	}
	err := t.signal(unix.SIGSTOP)
	t.ordered = t.ordered || err == nil
	return err
}

func (w *signalling) look(p inject.Process) (look, error) { return w.of(p).look(false) }

// resume sends the signal first and does everything else afterwards: this is the
// end of the pause. It reads back every process, those included that were not stopped
// at this moment: between two stops of a stutter that is all of them. What is stopped
// then is so by others, and left to them.
func (w *signalling) resume(ctx context.Context, procs []inject.Process) (inject.Effect, error) {
	var errs []error
	for _, p := range procs {
		t := w.of(p)
		if !t.ordered {
			continue
		}
		if err := t.signal(unix.SIGCONT); err != nil && !errors.Is(err, inject.ErrGone) {
			errs = append(errs, err)
		}
	}
	e, err := running(ctx, procs, func(p inject.Process) (look, bool, error) {
		t := w.of(p)
		l, err := t.look(true)
		return l, t.ordered, err
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return e, err
	}
	for _, t := range w.wires {
		t.ordered = false
	}
	return e, nil
}

func (w *signalling) forget(p inject.Process) {
	w.wires[p].close()
	delete(w.wires, p)
}

func (w *signalling) close() {
	wires := slices.Collect(maps.Values(w.wires))
	_ = inject.Each(len(wires), func(i int) error {
		wires[i].close()
		return nil
	})
	clear(w.wires)
}
