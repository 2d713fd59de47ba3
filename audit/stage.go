package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/record"
)

// Limits on starting a client on a node, and on ending all of them.
const (
	startLimit = 10 * time.Second
	closeLimit = 20 * time.Second
)

// stage holds the agents and the lock clients of a run.
type stage struct {
	plan     *plan.Plan
	planPath string
	schedule Schedule
	w        *record.Writer
	blast    *blast
	stopper  *stopper
	stop     func(cause error) // ends the audit
	agents   *agents

	traces traces

	mu      sync.Mutex
	clients map[string]*process
	started int
	caps    []string

	seen effects // of an application that is observed
}

func newStage(p *plan.Plan, planPath string, s Schedule, w *record.Writer, stop func(error)) *stage {
	st := &stage{
		plan: p, planPath: planPath, schedule: s, w: w,
		blast: newBlast(p, s.Params), stopper: newStopper(p.Safety.StopIf), stop: stop,
		clients: map[string]*process{},
		seen:    effects{marks: map[string]string{}, nodes: map[string]instance{}, met: map[string]instance{}},
	}
	st.blast.start = w.Start()
	st.agents = newAgents(p, st.dial)
	st.agents.settled = st.blast.cleared
	return st
}

// nodeOf says where a client lives: A on the first client node, everybody else
// on the second, because the observer must see the service while A is cut off.
func (s *stage) nodeOf(client string) string {
	if client == "a" || client == "canary-a" {
		return s.schedule.Params.NodeA
	}
	return s.schedule.Params.NodeB
}

// Client implements probes.Stage.
func (s *stage) Client(ctx context.Context, name string) (p probes.Process, started bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.clients[name]; old != nil {
		if old.alive() {
			return old, false, nil
		}
		delete(s.clients, name)
		if err := old.end(ctx); err != nil {
			return nil, false, err
		}
	}
	conn, err := s.agents.get(ctx, s.nodeOf(name))
	if err != nil {
		return nil, false, err
	}
	fresh, err := s.start(ctx, conn, name)
	if err != nil {
		return nil, false, err
	}
	s.clients[name] = fresh
	return fresh, true, nil
}

// dial reaches a node's agent, and compares its clocks with the auditor's.
func (s *stage) dial(ctx context.Context, n plan.Node) (*agent.Conn, error) {
	trace, err := s.traces.of(s.w, n.Name)
	if err != nil {
		return nil, err
	}
	cmd := AgentCommand(n)
	cmd.Tool, cmd.Start = s.w.Manifest().Tool, s.w.Start()
	cmd.Caller = agent.Caller{Plan: s.plan.Name, Run: filepath.Base(s.w.Dir())}
	c, err := agent.Dial(ctx, cmd, trace)
	if err != nil {
		return nil, err
	}
	s.blast.met(n.Name, c.Hello().Addresses)
	go s.listen(n.Name, c)
	s.note(ctx, n.Name, c)
	return c, nil
}

// listen hears what an agent says without being asked, until its end: a halt on
// one node ends the audit on all.
func (s *stage) listen(node string, c *agent.Conn) {
	for n := range c.Notices() {
		switch n.Kind {
		case agent.NoticeHalted:
			s.stop(fmt.Errorf("%w: node %s %s", ErrStopped, node, n.Why))
		case agent.NoticeReverted:
			s.blast.ended(n.FaultID)
		}
	}
}

// start runs a lock client on the agent's node and introduces the deployment to it.
func (s *stage) start(ctx context.Context, conn *agent.Conn, name string) (*process, error) {
	startCtx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	s.started++ // a name is used once: the next client of this name is another process
	proc, err := conn.Start(startCtx, agent.ProcSpec{
		Name: fmt.Sprintf("%s-%d", name, s.started), Argv: s.plan.ClientCommand(s.nodeOf(name), name), Env: s.plan.ClientEnv(),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", s.noClient(), err)
	}
	p := &process{
		victim: victim{s.nodeOf(name), conn, s.blast, inject.Process{PID: proc.PID, StartTime: proc.StartTime}},
		proc:   proc,
		conn:   clients.NewConn(proc.Stdin(), lastWords{proc}, s.w.Now),
		keep:   func(log []byte) error { return s.w.ClientLog(proc.Name, []byte(s.plan.RedactText(string(log)))) },
	}
	target, err := s.plan.LockTarget(s.schedule.Params.Key)
	if err != nil {
		return nil, err
	}
	target.ReadOnly = passive(s.schedule)
	resource, err := s.plan.ResourceTarget()
	if err != nil {
		return nil, err
	}
	reply := p.conn.Do(startCtx, clients.Request{
		Op: clients.OpInit, Version: clients.Version, Node: p.node, Lock: &target, Resource: resource,
	})
	if reply.Type != history.OK || reply.Answer == nil {
		err := fmt.Errorf("%w on node %s: %s", s.noClient(), p.node, s.plan.RedactText(p.explain(reply)))
		return nil, errors.Join(err, p.end(ctx))
	}
	for _, c := range reply.Answer.Capabilities {
		p.caps = append(p.caps, string(c))
	}
	if name != plan.Observer || s.caps == nil { // what the holders promise is what a judge must know
		s.caps = p.caps
	}
	return p, nil
}

// noClient is the error of a lock client that is not ready, by whose program it is.
func (s *stage) noClient() error {
	if s.plan.Clients.Own() {
		return ErrOwnClient
	}
	return probes.ErrNoClient
}

func (s *stage) capabilities() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caps
}

// Facts implements probes.Stage.
func (s *stage) Facts(f facts.Deployment) error {
	s.blast.inspected(f)
	return s.w.SetFacts(f)
}

// healthLimit bounds how long the lock service may need to answer between two probes.
const healthLimit = 20 * time.Second

// healthy asks a third party whether the lock service answers and whether the
// audit's own key is free to be used. No answer is asked for again, because a
// machine may stand still; asking does nothing to anybody.
func (s *stage) healthy(ctx context.Context) error {
	if _, err := s.node(ctx, s.schedule.Params.NodeB); err != nil { // it has a limit of its own
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	again := time.NewTicker(startLimit / 50)
	defer again.Stop()
	for {
		observer, _, sick := s.Client(ctx, plan.Observer)
		switch {
		case errors.Is(sick, probes.ErrNoClient) && s.blast.ordered():
			// The service may not have found its place again after the last fault.
		case errors.Is(sick, agent.ErrClosed):
			// Lost just now; the next time the node is dialled anew.
		case sick != nil:
			return sick
		case !observer.Can("observe"):
			return nil
		default:
			reply := s.look(ctx, observer)
			if reply.Type == history.OK {
				return nil
			}
			sick = fmt.Errorf("lock service %w: %s %s", ErrUnreachable, reply.Code, reply.Err)
		}
		select {
		case <-ctx.Done():
			return sick
		case <-again.C:
		}
	}
}

// look asks the lock service once who holds the audit's own key.
func (s *stage) look(ctx context.Context, observer probes.Process) clients.Reply {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return observer.Conn().Do(ctx, clients.Request{Op: clients.OpObserve, Key: s.schedule.Params.Key})
}

// close ends every client and agent. Each agent reverts what is left, looks, and
// says so; what it could not confirm becomes residue. It runs to its end also
// when the audit is being stopped, and whatever part of it fails.
func (s *stage) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.endClients(ctx)}
	var left []record.Residue
	errs = append(errs, s.agents.close(ctx, func(node string, unconfirmed []string) {
		for _, id := range unconfirmed {
			left = append(left, record.Residue{
				Node: node, Fault: id, What: "a fault whose end was not confirmed",
				Remove: "lockaudit heal " + s.planPath,
			})
		}
	}))
	if len(left) > 0 {
		errs = append(errs, s.w.Update(func(m *record.Manifest) { m.Residue = append(m.Residue, left...) }))
	}
	return errors.Join(errs...)
}

// endClients ends every lock client, all at once.
func (s *stage) endClients(ctx context.Context) error {
	ended := make(chan error, len(s.clients))
	for _, p := range s.clients {
		go func() { ended <- p.end(ctx) }()
	}
	var errs []error
	for range s.clients {
		errs = append(errs, <-ended)
	}
	clear(s.clients)
	return errors.Join(errs...)
}
