package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"
)

// LogDir is where the log of orders lies: $LOCKAUDIT_LOG, else, for the machine's
// own agent, /var/log/lockaudit-agent, else beside the state.
func LogDir(stateDir string) string {
	switch {
	case os.Getenv("LOCKAUDIT_LOG") != "":
		return os.Getenv("LOCKAUDIT_LOG")
	case stateDir == rootState && inject.MachineRoot():
		return "/var/log/lockaudit-agent"
	}
	return filepath.Join(lasting(stateDir), "log")
}

// logHead is where the log ends.
func logHead(stateDir string) LogHead {
	h := LogHead{Dir: LogDir(stateDir)}
	var err error
	if h.Seq, h.Sum, err = trail.Head(h.Dir); err != nil {
		h.Err = err.Error()
	}
	return h
}

const (
	// logWait is how long an order waits to be logged before it is refused.
	logWait = 3 * time.Second
	// logFlush is how long a process waits at its end for a slow disk.
	logFlush = time.Second
	// logQueue bounds what waits for a disk that hangs; what is beyond is counted.
	logQueue = 1024
)

// logbook is the log of a running guard. One goroutine writes, so that a disk that
// hangs holds up no revert: an order waits for its record, nothing else does.
type logbook struct {
	broken error // it could not be opened
	log    *trail.Log
	done   chan struct{}

	mu     sync.Mutex
	who    trail.Who
	queue  chan *logged
	closed bool
	lost   int
}

type logged struct {
	entry trail.Entry
	done  chan error // nil: nobody waits
}

func openLogbook(dir string) *logbook {
	b := &logbook{who: trail.Caller(), done: make(chan struct{}), queue: make(chan *logged, logQueue)}
	if b.log, b.broken = trail.Open(dir); b.broken != nil {
		close(b.done)
		return b
	}
	go b.run()
	return b
}

func (b *logbook) run() {
	defer close(b.done)
	for l := range b.queue {
		_, err := b.log.Append(l.entry)
		if l.done != nil {
			l.done <- err
		} else if err != nil {
			b.mu.Lock()
			b.lost++
			b.mu.Unlock()
		}
		runtime.Gosched() // whoever waits for the record goes on before the disk is waited for
		if len(b.queue) == 0 {
			// Not on the way of an order: the disk is also the one of the service
			// under test. What it says is told by the next Append.
			_ = b.log.Sync()
		}
	}
	_ = b.log.Close()
}

// caller says for whom what follows is done.
func (b *logbook) caller(c Caller) {
	b.mu.Lock()
	b.who.Plan, b.who.Run = c.Plan, c.Run
	b.mu.Unlock()
	b.note(trail.Entry{Event: trail.Start, Result: trail.OK})
}

// must returns once the entry is in the log; an error means that it is not, or
// that nobody knows.
func (b *logbook) must(e trail.Entry) error {
	done := make(chan error, 1)
	err := b.put(&logged{e, done})
	if err == nil {
		select {
		case err = <-done:
		case <-time.After(logWait):
			err = fmt.Errorf("write log: no answer from the disk within %v", logWait)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLog, err)
	}
	return nil
}

// note logs without waiting. What cannot be logged is counted, and said by the
// next record that can.
func (b *logbook) note(e trail.Entry) {
	if err := b.put(&logged{entry: e}); err != nil {
		b.mu.Lock()
		b.lost++
		b.mu.Unlock()
	}
}

func (b *logbook) put(l *logged) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return b.broken
	}
	if b.closed {
		return errors.New("write log: it is closed")
	}
	l.entry.Who = b.who
	if b.lost > 0 {
		l.entry.Why = fmt.Sprintf("%s (%d records before this one could not be written)", l.entry.Why, b.lost)
	}
	select {
	case b.queue <- l:
		b.lost = 0
		return nil
	default:
		return fmt.Errorf("write log: %d records wait for the disk", logQueue)
	}
}

// close waits a little for what is queued.
func (b *logbook) close() {
	b.mu.Lock()
	if b.broken == nil && !b.closed {
		close(b.queue)
	}
	b.closed = true
	b.mu.Unlock()
	select {
	case <-b.done:
	case <-time.After(logFlush):
	}
}

// entryOf describes a fault; nothing of its parameters is in it, which may hold
// anything.
func entryOf(p inject.Plan, event trail.Event, why string) trail.Entry {
	return trail.Entry{Event: event, Result: trail.OK, Fault: p.ID, Kind: p.Spec.Kind, For: p.Spec.For, Why: why}
}

// ended is how a revert went.
func (b *logbook) ended(p inject.Plan, event trail.Event, why string, seen string, err error) {
	e := entryOf(p, event, why)
	if e.Detail = seen; err != nil {
		e.Result, e.Detail = trail.Failed, err.Error()
	}
	b.note(e)
}

// injected is how an order for a fault went. Without h it came no further than a
// refusal; otherwise the record that it was about to be carried out is there.
func (b *logbook) injected(s inject.Spec, h *held, err error) {
	e := trail.Entry{Event: trail.Inject, Result: trail.OK, Kind: s.Kind, For: s.For}
	if h != nil {
		e.Fault, e.Deadline, e.Detail = h.fault.ID, h.fault.Deadline, h.fault.Effect.Seen
	}
	if err != nil {
		e.Result, e.Detail, e.Deadline = trail.Refused, err.Error(), 0
		if h != nil {
			e.Result = trail.Failed
		}
	}
	b.note(e)
}

// recoveredEntry is what was found at a start, or by a heal.
func recoveredEntry(r Recovered, event trail.Event) trail.Entry {
	e := trail.Entry{Event: event, Result: trail.OK, Fault: r.ID, Kind: r.Kind, Why: string(r.Outcome), Detail: r.Effect.Seen}
	if r.Outcome == OutcomeFailed {
		e.Result, e.Detail = trail.Failed, r.Err
	}
	return e
}
