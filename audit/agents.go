package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/plan"
)

const (
	// reachLimit bounds one node's dial: an ssh connection through a jump host takes
	// seconds.
	reachLimit = 30 * time.Second
	// regainLimit bounds the tries to look at a node whose connection was lost: its agent
	// may have to notice that first (agent.Hello.Silence), and then to revert. Troubles
	// that no waiting ends are given less.
	regainLimit = 60 * time.Second
	regainLess  = 5 * time.Second
	regainEvery = 500 * time.Millisecond
)

// Unreachable is a node of the plan whose agent could not be reached. It is an
// ErrUnreachable.
type Unreachable struct {
	Node string
	err  error
}

func (u *Unreachable) Error() string {
	return fmt.Sprintf("agent on node %s %v: %v", u.Node, ErrUnreachable, u.err)
}

func (u *Unreachable) Unwrap() []error { return []error{ErrUnreachable, u.err} }

// agents are the connections to the nodes' agents, each made when it is first needed.
// Nodes are dialled side by side, one never waits for another.
type agents struct {
	plan *plan.Plan
	// dial reaches a node's agent once.
	dial func(context.Context, plan.Node) (*agent.Conn, error)
	// settled is told of a node on which nothing is in effect any more: somebody has looked
	// there after a connection was lost.
	settled func(node string)

	mu    sync.Mutex
	nodes map[string]*reached
	made  []made
}

// made is a connection that was made at some time.
type made struct {
	node string
	conn *agent.Conn
}

// reached is one node's connection, and what became of earlier ones.
type reached struct {
	mu     sync.Mutex // one dial at a time
	conn   *agent.Conn
	gone   []*agent.Conn // lost, with faults that nobody has confirmed to be over
	failed error
	at     time.Time // of failed
}

func newAgents(p *plan.Plan, dial func(context.Context, plan.Node) (*agent.Conn, error)) *agents {
	return &agents{plan: p, dial: dial, settled: func(string) {}, nodes: map[string]*reached{}}
}

// get returns the connection to a node's agent; a lost one is made anew. A failure is
// told again to whoever asks soon after: who cannot be reached is not waited for twice.
func (a *agents) get(ctx context.Context, node string) (*agent.Conn, error) {
	i := slices.IndexFunc(a.plan.Nodes, func(n plan.Node) bool { return n.Name == node })
	if i < 0 {
		return nil, fmt.Errorf("reach agent: the plan has no node %q", node)
	}
	a.mu.Lock()
	r := a.nodes[node]
	if r == nil {
		r = &reached{}
		a.nodes[node] = r
	}
	a.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil && !ended(r.conn) {
		return r.conn, nil
	}
	if r.failed != nil && time.Since(r.at) < reachLimit {
		return nil, r.failed
	}
	again := r.conn != nil || len(r.gone) > 0
	if r.conn != nil {
		_ = r.conn.Close() // it is over; what its end left open is asked about below
		if len(r.conn.Unconfirmed()) > 0 {
			r.gone = append(r.gone, r.conn)
		}
		r.conn = nil
	}
	conn, err := a.reach(ctx, a.plan.Nodes[i], again)
	if err != nil {
		r.failed, r.at = &Unreachable{node, err}, time.Now()
		if ctx.Err() != nil { // whoever asked gave up; that says nothing about the node
			r.at = time.Time{}
		}
		return nil, r.failed
	}
	r.conn, r.failed = conn, nil
	r.gone = slices.DeleteFunc(r.gone, func(old *agent.Conn) bool {
		old.Settle(conn.Hello())
		return len(old.Unconfirmed()) == 0
	})
	if again && len(r.gone) == 0 {
		a.settled(node)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made = append(a.made, made{node, conn})
	return conn, nil
}

// reach dials a node; one whose connection was lost, until its last agent has ended and
// it can be reached again.
func (a *agents) reach(ctx context.Context, n plan.Node, again bool) (*agent.Conn, error) {
	begun := time.Now()
	tick := time.NewTicker(regainEvery)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, reachLimit)
		conn, err := a.dial(limited, n)
		cancel()
		if err == nil || !again || time.Since(begun) > patienceFor(err) || ctx.Err() != nil {
			return conn, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// patienceFor is for how long it is worth trying to reach a node again.
func patienceFor(err error) time.Duration {
	var u *agent.Unreached
	if errors.As(err, &u) {
		switch u.Trouble {
		case agent.TroubleBusy, agent.TroubleConnect, agent.TroubleSilent:
			return regainLimit
		}
	}
	return regainLess
}

// all reaches several nodes side by side. Who cannot be reached is told to whoever needs
// that node.
func (a *agents) all(ctx context.Context, nodes []string) {
	var all sync.WaitGroup
	for _, node := range nodes {
		all.Go(func() { _, _ = a.get(ctx, node) })
	}
	all.Wait()
}

func ended(c *agent.Conn) bool {
	select {
	case <-c.Lost():
		return true
	default:
		return false
	}
}

// losses are the connections that were lost so far.
func (a *agents) losses() []made {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []made
	for _, m := range a.made {
		if ended(m.conn) {
			out = append(out, m)
		}
	}
	return out
}

// lossLimit is how long after a write that failed the end of what is read may take.
const lossLimit = 5 * time.Second

// lostSince are the nodes whose connections were lost since an earlier look. err is what
// somebody met: a connection that can no longer be written to is about to end.
func (a *agents) lostSince(before []made, err error) []string {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(lossLimit); ; <-tick.C {
		var out []string
		for _, m := range a.losses() {
			if !slices.Contains(before, m) {
				out = append(out, m.node)
			}
		}
		if len(out) > 0 || !errors.Is(err, agent.ErrClosed) || time.Now().After(end) {
			return out
		}
	}
}

// regain looks at nodes whose connections were lost: a new agent there has reverted what
// was left and read it back, or nothing is said.
func (a *agents) regain(ctx context.Context, nodes []string) error {
	a.all(ctx, nodes)
	var errs []error
	for _, node := range nodes {
		_, err := a.get(ctx, node)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close closes every connection, all at once: each agent reverts what is left, looks, and
// says so. Where one was lost with faults in effect, a new one is asked first.
func (a *agents) close(ctx context.Context, each func(node string, unconfirmed []string)) error {
	a.mu.Lock()
	nodes := a.nodes
	a.mu.Unlock()
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for node, r := range nodes {
		all.Go(func() {
			r.mu.Lock()
			lost := r.failed == nil && r.conn != nil && ended(r.conn) && len(r.conn.Unconfirmed()) > 0
			r.mu.Unlock()
			if lost {
				_, _ = a.get(ctx, node) // without it, they stay unconfirmed
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			var left []string
			var err error
			if r.conn != nil {
				was := ended(r.conn)
				if err = r.conn.Close(); was && len(r.conn.Unconfirmed()) == 0 {
					err = nil // lost with nothing in effect
				}
				left = r.conn.Unconfirmed()
			}
			for _, old := range r.gone {
				left = append(left, old.Unconfirmed()...)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("close agent on node %s: %w", node, err))
			} else if len(left) > 0 {
				errs = append(errs, fmt.Errorf("close agent on node %s: its connection was lost: %w", node, agent.ErrRevertFailed))
			}
			each(node, left)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
