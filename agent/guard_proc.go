package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// guardProc is a running guard, seen from its agent.
type guardProc struct {
	cmd   *exec.Cmd
	stdin io.Closer
	link  *link
	gone  chan struct{}
	end   string // how it ended; set before gone is closed

	mu   sync.Mutex
	shot string // why it was killed
	last *time.Timer
}

// startGuard returns a guard that has gone through the journal. It runs in a
// session of its own, so that no terminal or process group signal takes both,
// and inherits the lock of the state directory.
func (k *keeper) startGuard() (*guardProc, Hello, error) {
	g := &guardProc{cmd: exec.Command(k.argv[0], k.argv[1:]...), gone: make(chan struct{})}
	g.cmd.Env = append(append(os.Environ(), "LOCKAUDIT_STATE="+k.dir), k.limits.env()...)
	g.cmd.Stderr = os.Stderr
	g.cmd.ExtraFiles = []*os.File{k.lock}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, Hello{}, fmt.Errorf("start guard: %w", err)
	}
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, Hello{}, fmt.Errorf("start guard: %w", err)
	}
	if err := g.cmd.Start(); err != nil {
		return nil, Hello{}, fmt.Errorf("start guard: %w", err)
	}
	g.stdin, g.link = stdin, newLink(stdin, nil, ErrGuardLost)
	go func() {
		g.link.read(stdout, k.event)
		err := g.cmd.Wait()
		g.link.w.close()
		g.finish(err)
	}()
	// Its recovery may take patience per leftover; many leftovers are not a hang.
	ctx, cancel := context.WithTimeout(context.Background(), recovering)
	defer cancel()
	r, err := g.link.call(ctx, order{Op: opHello, Version: Version})
	if err == nil && r.Hello == nil {
		err = errors.New("no hello in the answer")
	}
	if err != nil {
		g.kill("no hello")
		<-g.gone
		return nil, Hello{}, fmt.Errorf("start guard: %w: %s", err, g.end)
	}
	return g, *r.Hello, nil
}

func (g *guardProc) finish(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last != nil {
		g.last.Stop()
	}
	switch {
	case g.shot != "":
		g.end = "killed: " + g.shot
	case err != nil:
		g.end = err.Error()
	default:
		g.end = "exit status 0"
	}
	close(g.gone)
}

// kill ends the guard at once; the kernel then undoes what it can. os.Process
// signals through a pidfd, so no other process can be hit.
func (g *guardProc) kill(why string) {
	g.mu.Lock()
	if g.shot == "" {
		g.shot = why
	}
	g.mu.Unlock()
	_ = g.cmd.Process.Kill() // an error means that it is gone
}

// closeOrders has the guard revert everything and exit; one that does not is killed.
func (g *guardProc) closeOrders(slack time.Duration) {
	g.link.w.close()
	go func() {
		select { // nothing that was ordered is cut off
		case <-g.link.w.done:
		case <-time.After(grace): // a stopped guard does not read
		}
		_ = g.stdin.Close()
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last == nil {
		g.last = time.AfterFunc(patience+grace+slack, func() { g.kill("did not end after the end of its orders") })
	}
}
