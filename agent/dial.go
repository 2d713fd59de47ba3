package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Command gives the stdio of an agent: the agent itself, or ssh, kubectl exec …
type Command struct {
	Argv []string
	// Env is added to the environment.
	Env []string
	// Caller is who orders, for the agent's log.
	Caller Caller
	// Tool is the auditor's version, for a refusal.
	Tool string
	// Start is from when the trace counts; zero: from the dial.
	Start time.Time
	// speaks is for tests; zero: what this program speaks.
	speaks Range
}

// Dial starts the command and greets the agent. ctx bounds the greeting only.
// trace, if not nil, gets every order and answer as JSON lines with a monotonic
// stamp. An error about a node that could not be reached is an *Unreached.
func Dial(ctx context.Context, c Command, trace io.Writer) (*Conn, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("dial agent: no command")
	}
	cn := &Conn{
		cmd: Transport(context.Background(), c.Argv), stderr: &tail{}, notices: make(chan Notice, 1024), rest: func() {},
		waited: make(chan struct{}), active: map[string]bool{}, failed: map[string]string{}, procs: map[string]*Proc{},
	}
	cn.cmd.Env = append(cn.cmd.Env, c.Env...)
	cn.cmd.Stderr = cn.stderr
	stdin, err := cn.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("dial agent: %w", err)
	}
	stdout, err := cn.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("dial agent: %w", err)
	}
	if err := cn.cmd.Start(); err != nil {
		return nil, &Unreached{Argv: c.Argv, Trouble: TroubleCommand, err: err}
	}
	cn.stdin = stdin
	cn.link = newLink(stdin, newTracer(trace, c.Start), ErrClosed)
	go func() {
		cn.link.read(stdout, cn.event)
		cn.exit = cn.cmd.Wait()
		cn.end()
	}()
	cn.hello, err = cn.greet(ctx, c)
	if err != nil {
		// Before the hello nothing can be in effect; the agent's guard sees the end anyhow.
		_ = stdin.Close()
		if !errors.Is(err, ErrClosed) {
			_ = cn.cmd.Process.Kill()
		}
		select {
		case <-cn.waited: // it says how it ended
		case <-time.After(time.Second):
			_ = cn.cmd.Process.Kill()
			<-cn.waited
		}
		cn.link.w.close()
		return nil, unreached(c.Argv, err, cn.exit, cn.stderr.text())
	}
	if cn.hello.Silence > 0 && cn.hello.Version >= pings {
		cn.attend(cn.hello.Silence)
	}
	return cn, nil
}

// Transport is a command whose stdio leads to a node. It has a session of its own: a
// ctrl-C on the terminal reaches the auditor alone, which then reverts in order; and
// without a terminal ssh and sudo fail where they would ask for a password, or whether a
// host is known, and nobody would see the question.
func Transport(ctx context.Context, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C") // what it says is looked at
	if !slices.ContainsFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "SSH_ASKPASS_REQUIRE=") }) {
		cmd.Env = append(cmd.Env, "SSH_ASKPASS_REQUIRE=never")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Its children may keep its stderr open for ever.
	cmd.WaitDelay = time.Second
	return cmd
}
