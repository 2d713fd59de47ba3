package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// client is a client process of the agent.
type client struct {
	inject.Process
	name  string
	cmd   *exec.Cmd
	pidfd int
	stdin *os.File
	relay map[string]*relay
	group group
	gone  chan struct{} // the process has ended and exit is set
	exit  string
	pipes sync.WaitGroup

	mu     sync.Mutex
	closed bool // pidfd
}

// startClient starts a process whose output goes to out, held back by credits.
func startClient(s *spawner, gs groups, spec ProcSpec, out *lineWriter) (*client, error) {
	if !validName.MatchString(spec.Name) || len(spec.Argv) == 0 {
		return nil, fmt.Errorf("start client: a name of [A-Za-z0-9._-] and a command are needed, got %q and %d words", spec.Name, len(spec.Argv))
	}
	exe, err := program(spec.Argv[0])
	if err != nil {
		return nil, fmt.Errorf("start client %s: %w", spec.Name, err)
	}
	defer exe.Close()
	var pipes [3]struct{ r, w *os.File }
	for i := range pipes {
		if pipes[i].r, pipes[i].w, err = os.Pipe(); err != nil {
			for _, p := range pipes[:i] {
				_, _ = p.r.Close(), p.w.Close()
			}
			return nil, fmt.Errorf("start client %s: %w", spec.Name, err)
		}
	}
	in, stdout, stderr := pipes[0], pipes[1], pipes[2]
	c := &client{name: spec.Name, stdin: in.w, relay: map[string]*relay{}, gone: make(chan struct{})}
	start := func() error {
		c.cmd = &exec.Cmd{
			Path: "/proc/self/fd/3", Args: spec.Argv, Dir: "/", ExtraFiles: []*os.File{exe},
			Env:   append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8"}, spec.Env...),
			Stdin: in.r, Stdout: stdout.w, Stderr: stderr.w,
			SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: credential(), PidFD: &c.pidfd},
		}
		c.group.attr(c.cmd.SysProcAttr)
		return s.start(c.cmd)
	}
	// Without a group of its own, or where none can be entered (kernel before 5.7, no
	// permission), it runs all the same: then a fault cannot tell its packets.
	c.group, _ = gs.make()
	if err = start(); err != nil && c.group.dir != "" {
		_ = c.group.remove()
		c.group = group{}
		err = start()
	}
	_, _, _ = in.r.Close(), stdout.w.Close(), stderr.w.Close()
	if err == nil && c.pidfd < 0 {
		err = fmt.Errorf("no pidfd, kernel 5.3 or later is needed: %w", inject.ErrUnsupported)
		_, _ = c.cmd.Process.Kill(), c.cmd.Wait()
	}
	if err != nil {
		_, _, _ = in.w.Close(), stdout.r.Close(), stderr.r.Close()
		_ = c.group.remove()
		return nil, fmt.Errorf("start client %s: %w", spec.Name, err)
	}
	c.PID = c.cmd.Process.Pid
	// Not reaped yet, so the entry is there even if it has ended already.
	st, err := inject.ReadStat(c.PID)
	c.StartTime = st.StartTime
	c.forward(streamOut, stdout.r, out)
	c.forward(streamErr, stderr.r, out)
	go c.wait(out)
	if err != nil {
		c.kill()
		<-c.gone
		return nil, fmt.Errorf("start client %s: %w", spec.Name, err)
	}
	return c, nil
}

func (c *client) forward(stream string, src *os.File, out *lineWriter) {
	r := newRelay()
	c.relay[stream] = r
	c.pipes.Add(1)
	go func() {
		defer c.pipes.Done()
		r.run(src, func(b []byte) {
			_ = out.send(message{Event: eventOutput, Proc: c.name, Stream: stream, Data: newData(b)})
		})
		_ = src.Close()
		_ = out.send(message{Event: eventEOF, Proc: c.name, Stream: stream})
	}()
}

// wait reaps the process and ends what it left of its group, which may hold the
// pipes open.
func (c *client) wait(out *lineWriter) {
	err := c.cmd.Wait()
	c.kill()
	c.mu.Lock()
	unix.Close(c.pidfd)
	c.closed = true
	c.mu.Unlock()
	_ = c.stdin.Close()  // and unblock a writer
	_ = c.group.remove() // what it leaves is swept at the next start
	c.exit = "exit status 0"
	if err != nil {
		c.exit = err.Error()
	}
	_ = out.send(message{Event: eventExit, Proc: c.name, Exit: c.exit})
	close(c.gone)
}

func (c *client) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		_ = killGroup(c.pidfd, c.PID) // its only failure is that nobody is left
	}
}

func (c *client) end(ctx context.Context) error {
	c.kill()
	select {
	case <-c.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end client %s: %w", c.name, ctx.Err())
	}
}

func (c *client) write(b []byte) error {
	if _, err := c.stdin.Write(b); err != nil {
		if errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) {
			err = errors.New("it reads no more")
		}
		return fmt.Errorf("write to client %s: %w", c.name, err)
	}
	return nil
}

// endAll ends the clients and the goroutines that read them.
func endAll(all []*client) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience/2)
	defer cancel()
	var errs []error
	for _, c := range all {
		c.kill()
	}
	for _, c := range all {
		err := c.end(ctx)
		errs = append(errs, err)
		for _, r := range c.relay {
			r.stop()
		}
		if err == nil {
			c.pipes.Wait()
		}
	}
	return errors.Join(errs...)
}
