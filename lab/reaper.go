package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper starts children and collects every process that ends. A keeper is pid 1
// of its PID namespace and inherits orphans that it never started, so it waits
// for any child, and os/exec's own Wait must not be used beside it.
type reaper struct {
	mu       sync.Mutex
	children map[int]*child
}

// child is a process that the reaper started.
type child struct {
	pid  int
	done chan struct{}
	// status is valid once done is closed.
	status unix.WaitStatus
}

// newReaper starts collecting; stop ends that.
func newReaper() (r *reaper, stop func()) {
	r = &reaper{children: map[int]*child{}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	quit := make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				r.collect()
			case <-quit:
				return
			}
		}
	}()
	return r, func() {
		signal.Stop(signals)
		close(quit)
	}
}

func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c := r.children[pid]; c != nil {
			delete(r.children, pid)
			c.status = status
			close(c.done)
		}
	}
}

// start starts cmd in the network namespace ns.
func (r *reaper) start(ns *os.File, cmd *exec.Cmd) (*child, error) {
	// Held from before the fork, so that a child that ends at once is known
	// when it is collected.
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := inNamespace(ns, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	c := &child{pid: cmd.Process.Pid, done: make(chan struct{})}
	r.children[c.pid] = c
	return c, cmd.Process.Release()
}

// signal sends sig unless the child has been collected: until then its pid
// cannot belong to another process.
func (r *reaper) signal(c *child, sig unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children[c.pid] != c {
		return nil
	}
	return unix.Kill(c.pid, sig)
}

// running reports whether the child has not ended yet.
func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// ending describes how the child ended.
func (c *child) ending() string {
	if c.status.Signaled() {
		return "killed by " + unix.SignalName(c.status.Signal())
	}
	return fmt.Sprintf("exited with status %d", c.status.ExitStatus())
}
