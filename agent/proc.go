package agent

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// Proc is a client process on an agent's node, seen from the auditor.
type Proc struct {
	Name string
	PID  int
	// StartTime is /proc/PID/stat field 22: with PID it names the process for good.
	StartTime uint64

	conn *Conn
	out  *stream
	errs *tail

	once sync.Once
	done chan struct{}
	exit string
	in   sync.Mutex // keeps concurrent writes whole and in order
}

// Start runs a client process on the node.
func (c *Conn) Start(ctx context.Context, s ProcSpec) (*Proc, error) {
	p := &Proc{Name: s.Name, conn: c, errs: &tail{}, done: make(chan struct{})}
	p.out = newStream(func(n int) { p.credit(streamOut, n) })
	c.mu.Lock()
	if _, taken := c.procs[s.Name]; taken {
		c.mu.Unlock()
		return nil, fmt.Errorf("start %s: the name is taken", s.Name)
	}
	c.procs[s.Name] = p // before the order: output may come before the answer is read
	c.mu.Unlock()
	r, err := c.link.call(ctx, order{Op: opStart, Start: &s})
	if err != nil || r.Process == nil {
		if ctx.Err() != nil {
			c.link.post(order{Op: opKill, Proc: s.Name})
		}
		c.mu.Lock()
		delete(c.procs, s.Name)
		c.mu.Unlock()
		return nil, c.wrap("start "+s.Name, err)
	}
	p.PID, p.StartTime = r.Process.PID, r.Process.StartTime
	select {
	case <-c.waited:
		p.end("agent lost")
	default:
	}
	return p, nil
}

// Stdin writes to the process; Close ends its input. A write returns when the
// agent has put the bytes into the pipe, so a stopped process that does not read
// blocks it once the pipe is full, and nothing else.
func (p *Proc) Stdin() io.WriteCloser { return stdin{p} }

// Stdout is what the process prints. It must be read: the process is held back
// when the reader is 1 MiB behind. It ends with io.EOF.
func (p *Proc) Stdout() io.Reader { return p.out }

// Stderr is the last 16 KiB of the process's log, as of now.
func (p *Proc) Stderr() io.Reader { return p.errs.reader() }

// Done is closed when the process has ended, or the agent was lost.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Exit says how it ended: "exit status 0", "signal: killed", "agent lost"; ""
// while it runs.
func (p *Proc) Exit() string {
	select {
	case <-p.done:
		return p.exit
	default:
		return ""
	}
}

// Kill sends SIGKILL to the process and its group and returns when it is gone.
// A process that has ended already is no error.
func (p *Proc) Kill(ctx context.Context) error {
	if p.Exit() != "" {
		return nil
	}
	if _, err := p.conn.link.call(ctx, order{Op: opKill, Proc: p.Name}); err != nil {
		return p.conn.wrap("kill "+p.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill %s: %w", p.Name, ctx.Err())
	}
}

func (p *Proc) credit(stream string, n int) {
	p.conn.link.post(order{Op: opCredit, Proc: p.Name, Stream: stream, N: n})
}

func (p *Proc) event(m message) {
	switch m.Event {
	case eventOutput:
		b := m.Data.bytes()
		if m.Stream == streamErr {
			_, _ = p.errs.Write(b)
			p.credit(streamErr, len(b))
			return
		}
		p.out.push(b)
	case eventEOF:
		if m.Stream == streamOut {
			p.out.finish()
		}
	case eventExit:
		p.once.Do(func() {
			p.exit = m.Exit
			close(p.done)
		})
	}
}

// end is for a lost agent: no more events will come.
func (p *Proc) end(why string) {
	p.event(message{Event: eventExit, Exit: why})
	p.out.finish()
}

type stdin struct{ p *Proc }

func (s stdin) Write(b []byte) (int, error) {
	s.p.in.Lock()
	defer s.p.in.Unlock()
	sent := 0
	for sent < len(b) {
		part := b[sent:min(len(b), sent+chunk)]
		if _, err := s.p.conn.link.call(context.Background(), order{Op: opSend, Proc: s.p.Name, Data: newData(part)}); err != nil {
			return sent, s.p.conn.wrap("write to "+s.p.Name, err)
		}
		sent += len(part)
	}
	return sent, nil
}

func (s stdin) Close() error {
	if s.p.Exit() != "" {
		return nil
	}
	if _, err := s.p.conn.link.call(context.Background(), order{Op: opCloseStdin, Proc: s.p.Name}); err != nil {
		return s.p.conn.wrap("close stdin of "+s.p.Name, err)
	}
	return nil
}
