package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// closeWait is how long Close waits for the agent to revert and exit: its own
// bounds, and some for the way there.
const closeWait = 40 * time.Second

// Conn is the auditor's end of one agent. Its methods may be called concurrently.
type Conn struct {
	link    *link
	cmd     *exec.Cmd
	stdin   io.Closer
	stderr  *tail
	hello   Hello
	notices chan Notice
	waited  chan struct{} // closed when the command has ended; exit is then set
	exit    error
	rest    func()         // stops listening for silence
	orphans sync.WaitGroup // injects that their caller gave up on

	mu     sync.Mutex
	active map[string]bool // faults in effect, as far as was said
	failed map[string]string
	// unanswered are the kinds of faults that were ordered, and no answer came.
	unanswered []string
	procs      map[string]*Proc
	slack      time.Duration // the longest patience of a fault
	offset     Offset        // of the last Clock
	deaf       time.Duration // for so long nothing was heard; then it counts as lost

	closing sync.Once
	closed  error
}

// Hello is what the agent said about itself when it was dialled.
func (c *Conn) Hello() Hello { return c.hello }

// Prepare is a dry run: what Inject would touch. It changes nothing.
func (c *Conn) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	r, err := c.link.call(ctx, order{Op: opPrepare, Spec: &s})
	if err != nil || r.Plan == nil {
		return inject.Plan{}, c.wrap("prepare "+s.Kind, err)
	}
	return *r.Plan, nil
}

// Inject puts a fault into effect until its deadline and returns once the agent
// has read that back. If ctx ends first, the fault is reverted as soon as the
// agent answers.
func (c *Conn) Inject(ctx context.Context, s inject.Spec) (Fault, error) {
	c.mu.Lock()
	c.slack = max(c.slack, min(s.Patience, inject.MaxPatience))
	c.mu.Unlock()
	ordered := time.Now()
	_, ch, err := c.link.begin(order{Op: opInject, Spec: &s})
	if err != nil {
		return Fault{}, c.wrap("inject "+s.Kind, err)
	}
	r, err := c.link.wait(ctx, ch)
	if err != nil && ctx.Err() != nil {
		c.orphans.Add(1)
		go c.revertOrphan(ch)
	}
	if errors.Is(err, ErrClosed) {
		c.mu.Lock()
		c.unanswered = append(c.unanswered, s.Kind)
		c.mu.Unlock()
	}
	if id := leftBy(err); id != "" {
		c.mu.Lock()
		c.failed[id] = err.Error()
		c.mu.Unlock()
	}
	if err != nil || r.Fault == nil {
		return Fault{}, c.wrap("inject "+s.Kind, err)
	}
	r.Fault.Began = c.placed(r.Fault.InjectedAt, ordered)
	c.mu.Lock()
	if _, over := c.active[r.Fault.ID]; !over { // its end may have been said already
		c.active[r.Fault.ID] = true
	}
	c.mu.Unlock()
	return *r.Fault, nil
}

func (c *Conn) revertOrphan(ch chan message) {
	defer c.orphans.Done()
	r, err := c.link.wait(context.Background(), ch) // ends with the connection
	if err == nil && r.Fault != nil {
		// A failure here is told by the agent's own notice at the deadline.
		_, _ = c.link.call(context.Background(), order{Op: opRevert, Fault: r.Fault.ID})
	}
}

// Revert ends a fault and returns what was read back. A fault that already ended
// by itself answers with how it ended.
func (c *Conn) Revert(ctx context.Context, id string) (inject.Effect, error) {
	r, err := c.link.call(ctx, order{Op: opRevert, Fault: id})
	if err != nil || r.Effect == nil {
		return inject.Effect{}, c.wrap("revert "+id, err)
	}
	c.over(id)
	return *r.Effect, nil
}

// Faults are the faults still in effect.
func (c *Conn) Faults(ctx context.Context) ([]Fault, error) {
	r, err := c.link.call(ctx, order{Op: opList})
	if err != nil {
		return nil, c.wrap("list faults", err)
	}
	return r.Faults, nil
}

// Lost is closed when nothing more comes, whoever ended it: before any ErrClosed of an
// answer that did not come.
func (c *Conn) Lost() <-chan struct{} { return c.link.done }

// Notices is closed when the connection has ended. A reader that falls 1024
// notices behind loses the later ones; Close still knows them.
func (c *Conn) Notices() <-chan Notice { return c.notices }

// Close ends the orders, upon which the agent reverts every fault, ends its
// client processes and exits. The error names faults whose revert was not
// confirmed (ErrRevertFailed).
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.rest() // a revert may take longer than any silence
		c.link.w.close()
		select {
		case <-c.link.w.done: // all orders are written
		case <-time.After(time.Second): // the agent does not read; the end of its input says it all
		}
		_ = c.stdin.Close()
		c.mu.Lock()
		limit := closeWait + c.slack
		c.mu.Unlock()
		select {
		case <-c.waited:
		case <-time.After(limit):
			_ = c.cmd.Process.Kill() // its guard reverts on its own
			<-c.waited
		}
		c.orphans.Wait()
		c.closed = c.verdict()
	})
	return c.closed
}

// verdict is what Close returns: silence about a fault is not a confirmation.
func (c *Conn) verdict() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var open []string
	for id, on := range c.active {
		if on {
			open = append(open, id)
		}
	}
	for id, why := range c.failed {
		open = append(open, id+" ("+why+")")
	}
	sort.Strings(open)
	open = append(open, c.unknown()...)
	if len(open) > 0 {
		return fmt.Errorf("close agent on %s: %w: %s; run lockaudit-agent heal there%s",
			c.hello.Hostname, ErrRevertFailed, strings.Join(open, ", "), c.stderr.suffix())
	}
	if c.exit != nil {
		return fmt.Errorf("close agent on %s: %w%s", c.hello.Hostname, c.exit, c.stderr.suffix())
	}
	return nil
}

// wrap says what was ordered, unless the answer begins with that: a fault names itself
// and the step that failed, which of an injection may also be the first one.
func (c *Conn) wrap(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%s: the answer has no body", what)
	}
	if errors.Is(err, ErrClosed) {
		return fmt.Errorf("%s: %w%s", what, err, c.lastWords())
	}
	_, noun, _ := strings.Cut(what, " ")
	for _, said := range []string{what, "prepare " + noun, "inject " + noun} {
		if strings.HasPrefix(err.Error(), said+": ") {
			return err
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// lastWords are why the connection ended, as far as anybody said.
func (c *Conn) lastWords() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deaf > 0 {
		return fmt.Sprintf(": nothing was heard for %v", c.deaf)
	}
	return c.stderr.suffix()
}

func (c *Conn) over(id string) {
	c.mu.Lock()
	c.active[id] = false
	c.mu.Unlock()
}

// event is called in order by the reading goroutine and must not block.
func (c *Conn) event(m message) {
	if m.Event == eventNotice && m.Notice != nil {
		n := *m.Notice
		switch n.Kind {
		case NoticeReverted:
			c.over(n.FaultID)
			c.mu.Lock()
			delete(c.failed, n.FaultID)
			c.mu.Unlock()
		case NoticeRevertFailed:
			c.over(n.FaultID)
			c.mu.Lock()
			c.failed[n.FaultID] = n.Err
			c.mu.Unlock()
		}
		select {
		case c.notices <- n:
		default:
		}
		return
	}
	c.mu.Lock()
	p := c.procs[m.Proc]
	c.mu.Unlock()
	if p != nil {
		p.event(m)
	}
}

// end runs once, after the last message.
func (c *Conn) end() {
	c.mu.Lock()
	procs := make([]*Proc, 0, len(c.procs))
	for _, p := range c.procs {
		procs = append(procs, p)
	}
	c.mu.Unlock()
	for _, p := range procs {
		p.end("agent lost")
	}
	close(c.notices)
	close(c.waited)
}
