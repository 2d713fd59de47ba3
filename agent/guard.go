package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// GuardOptions is what a guard needs.
type GuardOptions struct {
	StateDir string
	Faults   []inject.Fault
	// step is called between the steps of a fault; tests crash there.
	step func(name string)
	calm time.Duration // 0: calm
}

// guard owns every kernel handle of every fault, the deadlines and the journal.
// It does what its agent orders and, when the agent is gone, ends everything.
type guard struct {
	kinds   map[string]inject.Fault
	order   []inject.Fault
	journal *journal
	timers  *timers
	deadman *deadman
	out     *lineWriter
	found   []Recovered
	state   string
	log     *logbook
	limits  Limits
	stir    chan struct{} // wakes watchHalt
	repose  *repose

	mu      sync.Mutex
	dirty   error // why nothing may be injected
	active  map[string]*held
	clients []watched
}

// Guard carries out orders from in until in ends or ctx is cancelled, then
// reverts every fault, ends the client processes and returns. First of all it
// reverts what the journal holds. The error names what may remain.
func Guard(ctx context.Context, in io.Reader, out io.Writer, o GuardOptions) error {
	catchBrokenPipe()
	// A name that people, and the pause of another agent, recognise.
	_ = os.WriteFile("/proc/self/comm", []byte("lockaudit-guard"), 0)
	preferGroup()
	closeOnExec()
	go roomForFiles()
	if o.step == nil {
		o.step = func(string) {}
	}
	t, err := newTimers()
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	defer t.close()
	d, err := newDeadman()
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	defer d.close()
	g := &guard{
		kinds: byKind(o.Faults), order: o.Faults, timers: t, deadman: d, active: map[string]*held{},
		journal: &journal{dir: filepath.Join(o.StateDir, "faults"), step: o.step},
	}
	g.state, g.stir = o.StateDir, make(chan struct{}, 1)
	g.repose = newRepose(o.calm, func() bool { return !g.anyActive() })
	defer g.repose.close()
	if g.limits, err = LimitsFromEnv(); err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	g.log = openLogbook(LogDir(o.StateDir))
	defer g.log.close()
	g.found, err = recoverAll(context.WithoutCancel(ctx), g.journal, g.kinds)
	g.dirty = dirt(g.found, err)
	for _, r := range g.found {
		g.log.note(recoveredEntry(r, trail.Recover))
	}

	g.out = newLineWriter(out)
	defer func() {
		g.out.close()
		<-g.out.done
	}()
	ctx, cancel := context.WithCancel(ctx)
	var busy sync.WaitGroup
	busy.Go(func() { g.watchHalt(ctx) })
	orders(ctx, in, func(o order) {
		if o.Op == opCaller && o.Caller != nil { // before the orders that follow it
			g.log.caller(*o.Caller)
			return
		}
		busy.Go(func() { answer(g.out, o, g.handle(ctx, o)) })
	})
	cancel()
	busy.Wait()
	err = errors.Join(g.revertAll(context.WithoutCancel(ctx), whyEnd), g.endClients())
	_ = newGroups(o.StateDir).sweep() // if the agent could not
	return err
}

func dirt(found []Recovered, err error) error {
	for _, r := range found {
		if r.Outcome == OutcomeFailed {
			err = errors.Join(err, fmt.Errorf("fault %s of an earlier life (%s): %s", r.ID, r.File, r.Err))
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w; run lockaudit-agent heal once this agent has ended", ErrRevertFailed, err)
	}
	return nil
}

// reply is what a handler returns: a body or an error.
type reply struct {
	result
	err error
}

func answer(out *lineWriter, o order, r reply) {
	if o.ID == 0 {
		return
	}
	m := message{ID: o.ID, OK: &r.result}
	if r.err != nil {
		m.OK, m.Error = nil, encodeError(r.err)
	}
	_ = out.send(m) // a lost peer shows at the end of its orders
}

// orders calls do with each decoded order until the input ends or ctx is cancelled,
// and not any more once it has returned. A line that cannot be decoded ends it too:
// the peer is not one of ours, and the end of orders is the safe way. do is called on
// the goroutine that reads, which ends with the input, and must not wait.
func orders(ctx context.Context, in io.Reader, do func(order)) {
	var mu sync.Mutex
	over := false
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = readLines(polled(in), func(line []byte) error {
			o, err := decodeOrder(line)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if over {
				return ctx.Err()
			}
			do(o)
			return nil
		})
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	over = true
}

func (g *guard) handle(ctx context.Context, o order) reply {
	switch {
	case o.Op == opHello:
		defer giveBack() // what it was prepared with, and will not need again
		return reply{result: result{Hello: &Hello{Version: Version, GuardPID: os.Getpid(), Kinds: g.support(), Recovered: g.found, Limits: g.limits}}}
	case o.Op == opPrepare && o.Spec != nil:
		p, err := g.prepare(ctx, *o.Spec)
		p.Undo = nil // may hold a server's environment, and is the guard's own
		return reply{result{Plan: &p}, err}
	case o.Op == opInject && o.Spec != nil:
		f, err := g.inject(ctx, *o.Spec)
		f.Plan.Undo = nil
		return reply{result{Fault: &f}, err}
	case o.Op == opRevert:
		e, err := g.revert(ctx, o.Fault)
		return reply{result{Effect: &e}, err}
	case o.Op == opPing:
		return reply{}
	case o.Op == opWatch && o.Process != nil:
		return reply{err: g.watchClient(*o.Process)}
	}
	return reply{err: fmt.Errorf("order %q: unknown or incomplete", o.Op)}
}

func (g *guard) support() []Support {
	var out []Support
	for _, f := range g.order {
		out = append(out, supportOf(f))
	}
	return out
}

// catchBrokenPipe keeps SIGPIPE from killing the process: Go's default for a
// write to a lost stdout is to die, with faults in effect. A handler, unlike an
// ignored signal, is not inherited by client processes.
func catchBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// closeOnExec keeps what this guard has inherited, the lock of the state directory
// above all, from the programs that faults start.
func closeOnExec() {
	if unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	fds, _ := os.ReadDir("/proc/self/fd") // before kernel 5.11
	for _, e := range fds {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
