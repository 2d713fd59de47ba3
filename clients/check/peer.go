package check

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// peer is one process of the client under test.
type peer struct {
	cmd  *exec.Cmd
	conn *clients.Conn
	gone chan struct{} // it has ended, and been reaped
	once sync.Once
	now  func() time.Duration
}

// startPeer starts the client in a process group of its own, which ends with it.
func startPeer(ctx context.Context, o Options) (*peer, error) {
	cmd := exec.Command(o.Argv[0], o.Argv[1:]...)
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Stderr = o.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // for a child of its own that keeps stderr open
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", o.Argv[0], ErrStart, err)
	}
	// A pipe of our own: Wait would close the command's before all of it is read.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", o.Argv[0], ErrStart, err)
	}
	cmd.Stdout = w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("%s %w: %w", strings.Join(o.Argv, " "), ErrStart, err)
	}
	began := time.Now()
	p := &peer{cmd: cmd, gone: make(chan struct{})}
	p.now = func() time.Duration { return max(1, time.Since(began)) }
	p.conn = clients.NewConn(stdin, r, p.now)
	go func() {
		for range p.conn.Events() { // until its output has ended; nobody else reads them
		}
	}()
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.gone)
		_ = r.SetReadDeadline(time.Now().Add(time.Second)) // a child of its own may hold the pipe
	}()
	return p, nil
}

// kill ends the client and whatever it has started.
func (p *peer) kill() {
	p.once.Do(func() {
		select {
		case <-p.gone: // its number may be another's by now
		default:
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		}
		<-p.gone
		_ = p.conn.Close()
	})
}

// do sends a request and waits for the answer, for as long as limit.
func (p *peer) do(ctx context.Context, r clients.Request) clients.Reply {
	ctx, cancel := context.WithTimeoutCause(ctx, limit+time.Duration(r.WaitMs)*time.Millisecond, fmt.Errorf("none within %s", limit))
	defer cancel()
	return p.conn.Do(ctx, r)
}

func (p *peer) acquire(ctx context.Context, key string, ttl, wait time.Duration) clients.Reply {
	return p.do(ctx, clients.Request{Op: clients.OpAcquire, Key: key, TTLms: ttl.Milliseconds(), WaitMs: wait.Milliseconds()})
}

func (p *peer) release(ctx context.Context, key string, token *history.Token) clients.Reply {
	return p.do(ctx, clients.Request{Op: clients.OpRelease, Key: key, Token: token})
}

func (p *peer) renew(ctx context.Context, key string, token *history.Token) clients.Reply {
	return p.do(ctx, clients.Request{Op: clients.OpRenew, Key: key, Token: token})
}

// holding is what the client believes.
func (p *peer) holding(ctx context.Context, key string) (bool, error) {
	r := p.do(ctx, clients.Request{Op: clients.OpStatus, Key: key})
	if err := expect("status", r, "ok"); err != nil {
		return false, err
	}
	return *r.Answer.Holding, nil
}
