package agent

import (
	"bufio"
	"context"
	"encoding/json"
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
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := &auditor{t: t, cmd: exec.Command(exe)}
	a.cmd.Env = append(os.Environ(), testRole+"=auditor", "LOCKAUDIT_STATE="+dir)
	a.cmd.Stderr = os.Stderr
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.out = json.NewDecoder(out)
	t.Cleanup(func() { _ = a.close() })
	a.hello = *a.says().Hello
	t.Cleanup(func() { // of a test that failed in the middle
		if !a.closed {
			kill(a.hello.PID, syscall.SIGKILL)
			kill(a.hello.GuardPID, syscall.SIGCONT)
		}
	})
	return a
}

func (a *auditor) says() auditorSays {
	a.t.Helper()
	var s auditorSays
	if err := a.out.Decode(&s); err != nil {
		a.t.Fatalf("the auditor is gone: %v", err)
	}
	if s.Err != "" {
		a.t.Fatalf("auditor: %s", s.Err)
	}
	return s
}

func (a *auditor) inject(s inject.Spec) Fault {
	a.t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(a.in, "%s\n", b); err != nil {
		a.t.Fatal(err)
	}
	return *a.says().Fault
}

// close ends it in order, or what is left of it, and returns how it ended.
func (a *auditor) close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	_ = a.in.Close()
	return a.cmd.Wait()
}
