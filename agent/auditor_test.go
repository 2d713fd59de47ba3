package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/lockaudit/lockaudit/inject"
)

// auditor is a controller in a process of its own, so that it can be killed. It
// injects what it is told and holds the connection.
type auditor struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	hello  Hello
	agent  grasp
	guard  grasp
	closed bool
}

// auditorSays is an answer of the auditor process.
type auditorSays struct {
	Hello *Hello
	Fault *Fault
	Err   string
}

// playAuditor is the auditor process: orders come as JSON lines; their end, an
// orderly Close.
func playAuditor(dir string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	c, err := Dial(context.Background(), Command{Argv: []string{exe}, Env: []string{testRole + "=agent", "LOCKAUDIT_STATE=" + dir}}, nil)
	if err != nil {
		return err
	}
	h := c.Hello()
	if err := out.Encode(auditorSays{Hello: &h}); err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var s inject.Spec
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return err
		}
		var say auditorSays
		if f, err := c.Inject(context.Background(), s); err != nil {
			say.Err = err.Error()
		} else {
			say.Fault = &f
		}
		if err := out.Encode(say); err != nil {
			return err
		}
	}
	return c.Close()
}

func startAuditor(t testing.TB, dir string) *auditor {
	t.Helper()
	a, err := launchAuditor(t, dir, os.Stderr)
	if a != nil {
		t.Cleanup(a.abandon)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func launchAuditor(t testing.TB, dir string, log io.Writer) (*auditor, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &auditor{t: t, cmd: exec.Command(exe), agent: grasp{-1}, guard: grasp{-1}}
	a.cmd.Env = append(os.Environ(), testRole+"=auditor", "LOCKAUDIT_STATE="+dir)
	a.cmd.Stderr = log
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	a.out = json.NewDecoder(out)
	say, err := a.says()
	if err == nil {
		a.hello = *say.Hello
		if a.agent, err = grab(a.hello.PID); err == nil {
			a.guard, err = grab(a.hello.GuardPID)
		}
	}
	return a, err
}

// abandon is for the end of a test, also in the middle: whatever was stopped ends.
func (a *auditor) abandon() {
	if !a.closed {
		a.agent.signal(syscall.SIGKILL)
		a.guard.signal(syscall.SIGCONT)
		_ = a.close()
	}
	a.agent.drop()
	a.guard.drop()
}

// errAuditorGone: it was killed, or it ended.
var errAuditorGone = errors.New("the auditor is gone")

func (a *auditor) says() (auditorSays, error) {
	var s auditorSays
	if err := a.out.Decode(&s); err != nil {
		return s, errAuditorGone
	}
	if s.Err != "" {
		return s, errors.New(s.Err)
	}
	return s, nil
}

func (a *auditor) inject(s inject.Spec) Fault {
	a.t.Helper()
	f, err := a.try(s)
	if err != nil {
		a.t.Fatal(err)
	}
	return f
}

// try waits as long as it takes: a stopped agent does not answer.
func (a *auditor) try(s inject.Spec) (Fault, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return Fault{}, err
	}
	if _, err := fmt.Fprintf(a.in, "%s\n", b); err != nil {
		return Fault{}, errAuditorGone
	}
	say, err := a.says()
	if err != nil {
		return Fault{}, err
	}
	return *say.Fault, nil
}

// keepersEnded: neither agent nor guard is left.
func (a *auditor) keepersEnded() bool { return a.agent.ended() && a.guard.ended() }

// close ends it in order, or what is left of it, and returns how it ended.
func (a *auditor) close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	_ = a.in.Close()
	return a.cmd.Wait()
}
