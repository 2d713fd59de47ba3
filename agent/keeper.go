package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// keeper is the agent's side of the watch: it keeps a guard running, knows every
// deadline, kills a guard that misses one, and has the next guard revert from the
// journal and verify what the dead one held.
//
// Only the guard holds what keeps a fault in effect, so that its death alone
// already undoes what a kernel can undo. If the agent held a handle too, killing
// a stuck guard would not resume a stopped process.
type keeper struct {
	argv   []string
	dir    string
	lock   *os.File
	limits Limits
	notify func(Notice)
	first  Hello
	// deadman ends this agent if it is stopped; its guard has one of its own.
	deadman *deadman
	repose  *repose
	done    chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change below
	cur     *guardProc    // nil while it is being replaced
	broken  error         // no guard can be started any more
	closing bool
	active  map[string]*Fault
	slack   time.Duration // the longest patience ordered so far
	ended   map[string]ended
	oldest  []string // of ended, to bound it
	clients []inject.Process
	caller  *Caller
}

// ended is how a fault ended, for whoever reverts it later.
type ended struct {
	effect inject.Effect
	err    error
}

// memory bounds the number of ended faults that are remembered.
const memory = 4096

func openKeeper(argv []string, dir string, lock *os.File, limits Limits, calm time.Duration, notify func(Notice)) (*keeper, error) {
	k := &keeper{
		argv: argv, dir: dir, lock: lock, limits: limits, notify: notify, done: make(chan struct{}),
		changed: make(chan struct{}), active: map[string]*Fault{}, ended: map[string]ended{},
	}
	var err error
	if k.deadman, err = newDeadman(); err != nil {
		return nil, err
	}
	k.repose = newRepose(calm, func() bool { return len(k.list()) == 0 })
	g, hello, err := k.startGuard()
	if err != nil {
		k.repose.close()
		k.deadman.close()
		return nil, err
	}
	k.first = hello
	for _, r := range hello.Recovered {
		k.remember(r.ID, r.end())
	}
	go k.run(g)
	giveBack()
	return k, nil
}

// end is the entry that a recovered fault leaves in memory.
func (r Recovered) end() ended {
	if r.Outcome == OutcomeFailed {
		return ended{err: fmt.Errorf("%w: %s (%s)", ErrRevertFailed, r.Err, r.File)}
	}
	return ended{effect: r.Effect}
}

// run replaces lost guards until the end of orders, and then until nothing is
// left in effect or three guards in a row died young.
func (k *keeper) run(g *guardProc) {
	defer close(k.done)
	defer k.deadman.close()
	defer k.repose.close()
	young := 0
	for {
		born := time.Now()
		k.install(g)
		<-g.gone
		k.install(nil)
		if k.finished() {
			return
		}
		k.notify(Notice{Kind: NoticeGuardLost, Why: g.end})
		if young++; time.Since(born) > 5*time.Second {
			young = 0
		}
		var err error
		for {
			var hello Hello
			if young >= 3 {
				k.giveUp(fmt.Errorf("%w: three guards in a row: %s", ErrGuardLost, g.end))
				return
			}
			k.allow(recovering)
			if g, hello, err = k.startGuard(); err == nil {
				k.adopt(hello.Recovered)
				break
			}
			if young++; young >= 3 {
				k.giveUp(fmt.Errorf("%w: %w", ErrGuardLost, err))
				return
			}
		}
	}
}

func (k *keeper) install(g *guardProc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cur = g
	k.change()
	if g == nil {
		return
	}
	if k.closing {
		g.closeOrders(k.slack)
		return
	}
	for _, p := range k.clients {
		g.link.post(order{Op: opWatch, Process: &p})
	}
	if k.caller != nil {
		g.link.post(order{Op: opCaller, Caller: k.caller})
	}
}

// change wakes whoever waits; the caller holds k.mu.
func (k *keeper) change() {
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *keeper) finished() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closing && len(k.active) == 0
}

// adopt takes over what a new guard found of the lost one. A fault that is in
// effect as far as we know and no longer in the journal was reverted and verified
// before it left the journal; only the word of it was lost.
func (k *keeper) adopt(found []Recovered) {
	const why = "guard lost"
	seen := map[string]bool{}
	for _, r := range found {
		seen[r.ID] = true
		k.remember(r.ID, r.end())
		if r.Outcome == OutcomeFailed {
			k.notify(Notice{Kind: NoticeRevertFailed, FaultID: r.ID, Why: why, Err: r.Err})
		} else {
			k.notify(Notice{Kind: NoticeReverted, FaultID: r.ID, Why: why, Effect: &r.Effect})
		}
	}
	for _, f := range k.list() {
		if !seen[f.ID] {
			e := inject.Effect{Seen: "reverted and verified before the guard was lost"}
			k.remember(f.ID, ended{effect: e})
			k.notify(Notice{Kind: NoticeReverted, FaultID: f.ID, Why: why, Effect: &e})
		}
	}
}

func (k *keeper) giveUp(err error) {
	for _, f := range k.list() {
		k.remember(f.ID, ended{err: fmt.Errorf("%w: %w", ErrRevertFailed, err)})
		k.notify(Notice{Kind: NoticeRevertFailed, FaultID: f.ID, Why: "guard lost", Err: err.Error()})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = err
	k.change()
}

// remember files a fault as ended.
func (k *keeper) remember(id string, e ended) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.active, id)
	k.deadman.met(id)
	k.repose.soon()
	if _, again := k.ended[id]; !again {
		k.oldest = append(k.oldest, id)
	}
	k.ended[id] = e
	if len(k.oldest) > memory {
		delete(k.ended, k.oldest[0])
		k.oldest = k.oldest[1:]
	}
	k.change()
}

// event is called in order with what a guard says without being asked.
func (k *keeper) event(m message) {
	if m.Notice == nil {
		return
	}
	if n := *m.Notice; n.Kind == NoticeReverted && n.Effect != nil {
		k.remember(n.FaultID, ended{effect: *n.Effect})
	}
	k.notify(*m.Notice)
}

func (k *keeper) list() []Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Fault, 0, len(k.active))
	for _, f := range k.active {
		out = append(out, *f)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].InjectedAt < out[j].InjectedAt
	})
	return out
}

// close ends the orders, waits until everything is reverted, and names what may
// remain.
func (k *keeper) close() error {
	k.mu.Lock()
	k.closing = true
	k.allowLocked(patience + grace)
	if k.cur != nil {
		k.cur.closeOrders(k.slack)
	}
	k.mu.Unlock()
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	var bad []string
	for id, e := range k.ended {
		if e.err != nil {
			bad = append(bad, id+": "+e.err.Error())
		}
	}
	sort.Strings(bad)
	if len(bad) > 0 {
		return fmt.Errorf("end: %w: %s", ErrRevertFailed, strings.Join(bad, "; "))
	}
	return k.broken
}

// guard waits for a guard to order about.
func (k *keeper) guard(ctx context.Context) (*guardProc, error) {
	for {
		k.mu.Lock()
		g, err, closing, changed := k.cur, k.broken, k.closing, k.changed
		k.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case closing:
			return nil, ErrClosed
		case g != nil:
			return g, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// call gives the guard an order; a guard that does not answer in time is killed.
func (k *keeper) call(ctx context.Context, o order, limit time.Duration) (*guardProc, result, error) {
	g, err := k.guard(ctx)
	if err != nil {
		return nil, result{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	r, err := g.link.call(ctx, o)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		g.kill(fmt.Sprintf("no answer to %s within %v", o.Op, limit))
		err = fmt.Errorf("%w: no answer to %s within %v", ErrGuardLost, o.Op, limit)
	}
	return g, r, err
}
