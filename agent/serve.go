package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/measure"
)

// Options are what an agent needs.
type Options struct {
	// Version is the program's, for Hello.
	Version string
	// StateDir holds the journal; one agent at a time owns it.
	StateDir string
	// Guard is the command that runs Guard on its stdio; nil is this program with
	// the argument "guard". It finds the directory in $LOCKAUDIT_STATE.
	Guard []string
	// Limits are the owner's; what the environment says counts too, and the stricter
	// of both holds.
	Limits Limits
	Pulse  Pulse
	// Speaks is for tests, which play an older or a newer agent; zero: what this
	// program speaks.
	Speaks  Range
	calm    time.Duration // 0: calm
	silence time.Duration // 0: silence
}

// server is a running agent.
type server struct {
	o       Options
	keeper  *keeper
	spawner *spawner
	out     *lineWriter
	ear     ear
	attend  func() // starts listening for the auditor's silence; once

	mu      sync.Mutex
	clients map[string]*client
	inputs  map[string]chan struct{} // of the reading goroutine: closed when a client's last input is done
}

// Serve carries out the auditor's orders from in until in ends or ctx is
// cancelled, and then reverts every fault and ends every client process. Nothing
// that in or out do can hold up a revert. An error of the kind ErrRevertFailed
// means that a fault may remain. A goroutine that reads in ends with in.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o Options) error {
	catchBrokenPipe()
	if o.Guard == nil {
		o.Guard = []string{"/proc/self/exe", "guard"}
	}
	if o.silence == 0 {
		o.silence = silence
	}
	limits, err := LimitsFromEnv()
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	lock, err := lockState(o.StateDir, time.Second)
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer lock.Close()
	_ = newGroups(o.StateDir).sweep() // what stays is empty and harms nobody
	s := &server{o: o, clients: map[string]*client{}, inputs: map[string]chan struct{}{}}
	if s.spawner, err = newSpawner(); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer s.spawner.close()
	s.out = newLineWriter(out)
	defer flush(s.out)
	s.keeper, err = openKeeper(o.Guard, o.StateDir, lock, limits.Tighten(o.Limits), o.calm, func(n Notice) {
		_ = s.out.send(message{Event: eventNotice, Notice: &n})
	})
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var busy sync.WaitGroup
	s.attend = sync.OnceFunc(func() {
		busy.Go(func() {
			if s.ear.silent(ctx, s.o.silence) {
				cancel(fmt.Errorf("%w for %v", ErrSilent, s.o.silence))
			}
		})
	})
	// Until the very end: an agent that reverts for long is not a hanging one.
	alive, dead := context.WithCancel(context.WithoutCancel(ctx))
	defer dead()
	go s.pulse(alive)
	orders(ctx, in, func(o order) {
		s.ear.hear()
		switch o.Op {
		case opCredit:
			s.credit(o)
			return
		case opPing:
			_ = s.out.send(message{Event: eventPong})
			return
		}
		before, done := s.turn(o)
		busy.Go(func() {
			defer close(done)
			<-before
			answer(s.out, o, s.handle(ctx, o))
		})
	})
	lost := context.Cause(ctx)
	cancel(nil)
	// The guard first: it waits for what is in the middle of an injection.
	err = s.keeper.close()
	if errors.Is(lost, ErrSilent) {
		err = errors.Join(err, lost)
	}
	err = errors.Join(err, endAll(s.all()))
	busy.Wait()
	return errors.Join(err, endAll(s.all())) // one may have been started meanwhile
}

// flush writes out what is queued, unless nobody reads it.
func flush(out *lineWriter) {
	out.close()
	select {
	case <-out.done:
	case <-time.After(2 * time.Second):
	}
}

func (s *server) handle(ctx context.Context, o order) reply {
	switch {
	case o.Op == opHello:
		h, err := s.hello(o.Version)
		if err == nil && o.Caller != nil {
			s.keeper.tell(*o.Caller)
		}
		return reply{result{Hello: &h}, err}
	case o.Op == opPrepare && o.Spec != nil:
		p, err := s.keeper.prepare(ctx, *o.Spec)
		return reply{result{Plan: &p}, err}
	case o.Op == opInject && o.Spec != nil:
		f, err := s.keeper.inject(ctx, *o.Spec)
		return reply{result{Fault: &f}, err}
	case o.Op == opRevert:
		e, err := s.keeper.revert(ctx, o.Fault)
		return reply{result{Effect: &e}, err}
	case o.Op == opList:
		return reply{result: result{Faults: s.keeper.list()}}
	case o.Op == opStart && o.Start != nil:
		p, err := s.start(*o.Start)
		return reply{result{Process: &p}, err}
	case o.Op == opMeasure && o.Measure != nil:
		m, err := measure.Run(ctx, o.Measure.Kind, o.Measure.Params)
		return reply{result{Measured: m}, err}
	case o.Op == opSend || o.Op == opCloseStdin || o.Op == opKill:
		return reply{err: s.client(ctx, o)}
	}
	return reply{err: fmt.Errorf("order %q: unknown or incomplete", o.Op)}
}

func (s *server) hello(version int) (Hello, error) {
	h, err := introduce(s.o.Version, s.o.StateDir, s.o.Speaks, version)
	if h.Version == 0 {
		return h, err
	}
	first := s.keeper.first
	h.Kinds, h.Recovered, h.Limits, h.GuardPID = first.Kinds, first.Recovered, first.Limits, first.GuardPID
	s.keeper.mu.Lock()
	if g := s.keeper.cur; g != nil {
		h.GuardPID = g.cmd.Process.Pid
	}
	s.keeper.mu.Unlock()
	if version >= pings {
		h.Silence = s.o.silence
		s.attend()
	}
	return h, err
}

// introduce is what whoever is greeted says of itself and its node, if it speaks that
// version.
func introduce(program, stateDir string, speaks Range, version int) (Hello, error) {
	speaks = speaks.spoken()
	if version < speaks.Min || version > speaks.Max {
		return Hello{}, &mismatch{program, speaks, version}
	}
	h := Hello{
		Version: version, Speaks: speaks, AgentVersion: program, UID: os.Geteuid(), PID: os.Getpid(),
		StateDir: stateDir, Halted: Halted(stateDir), Log: logHead(stateDir),
	}
	var err, err2, err3 error
	h.Hostname, err = os.Hostname()
	h.BootID, err2 = inject.BootID()
	h.Addresses, err3 = ownAddresses()
	return h, errors.Join(err, err2, err3)
}

func (s *server) start(spec ProcSpec) (inject.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.clients[spec.Name]; taken {
		return inject.Process{}, fmt.Errorf("start client: the name %q is taken", spec.Name)
	}
	c, err := startClient(s.spawner, newGroups(s.o.StateDir), spec, s.out)
	if err != nil {
		return inject.Process{}, err
	}
	s.clients[spec.Name] = c
	s.keeper.watch(c.Process)
	go func() {
		<-c.gone
		s.keeper.unwatch(c.Process)
	}()
	return c.Process, nil
}

func (s *server) client(ctx context.Context, o order) error {
	s.mu.Lock()
	c := s.clients[o.Proc]
	s.mu.Unlock()
	if c == nil {
		return fmt.Errorf("%s %q: %w", o.Op, o.Proc, ErrUnknownProc)
	}
	switch o.Op {
	case opSend:
		return c.write(o.Data.bytes())
	case opCloseStdin:
		if err := c.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			return fmt.Errorf("close stdin of %s: %w", o.Proc, err)
		}
		return nil
	default:
		return c.end(ctx)
	}
}

// turn keeps what goes into one client in the order in which it came; everything
// else runs at once.
func (s *server) turn(o order) (before, done chan struct{}) {
	before, done = make(chan struct{}), make(chan struct{})
	if last := s.inputs[o.Proc]; last != nil && (o.Op == opSend || o.Op == opCloseStdin) {
		before = last
	} else {
		close(before)
	}
	if o.Op == opSend || o.Op == opCloseStdin {
		s.inputs[o.Proc] = done
	}
	return before, done
}

func (s *server) credit(o order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[o.Proc]; c != nil && c.relay[o.Stream] != nil {
		c.relay[o.Stream].add(o.N)
	}
}

func (s *server) all() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		out = append(out, c)
	}
	return out
}
