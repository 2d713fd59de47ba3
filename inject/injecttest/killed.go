package injecttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// role tells a copy of the test binary to be a process that holds a fault.
const role = "INJECTTEST_ROLE"

// The moments at which a holder is killed.
const (
	afterPrepare = "after prepare"
	duringInject = "during inject"
	afterInject  = "after inject"
	duringRevert = "during revert"
	afterRevert  = "after revert"
	fresh        = "fresh" // not killed: reverts from the plan
)

// Main runs the tests, or is the holder of a fault if the suite started it so.
func Main(m *testing.M, newFault func() inject.Fault) {
	r := os.Getenv(role)
	if r == "" {
		os.Exit(m.Run())
	}
	if err := hold(r, newFault(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hold goes as far as its role says, announces it, and waits for its end.
func hold(r string, f inject.Fault, in io.Reader, out io.Writer) error {
	var p inject.Plan
	if err := json.NewDecoder(in).Decode(&p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if r == fresh {
		_, err := f.Revert(ctx, p)
		return err
	}
	if r == afterPrepare {
		if _, err := f.Prepare(ctx, p.Spec); err != nil {
			return err
		}
	}
	if r == duringInject {
		fmt.Fprintln(out, r)
	}
	if r != afterPrepare {
		if _, err := f.Inject(ctx, p); err != nil {
			return err
		}
	}
	if r == duringRevert {
		fmt.Fprintln(out, r)
	}
	if r == duringRevert || r == afterRevert {
		if _, err := f.Revert(ctx, p); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, r)
	<-ctx.Done()
	return ctx.Err()
}

func (s suite) killed(t *testing.T) {
	for _, c := range []struct {
		role  string
		delay []time.Duration
	}{
		{afterPrepare, []time.Duration{0}},
		// Inject and Revert take some hundred microseconds to a few milliseconds.
		{duringInject, spread(20, 50*time.Microsecond)},
		{afterInject, make([]time.Duration, 10)},
		{duringRevert, spread(10, 30*time.Microsecond)},
		{afterRevert, []time.Duration{0}},
	} {
		t.Run(c.role, func(t *testing.T) {
			if s.Parallel {
				t.Parallel()
			}
			x := s.Target(t)
			before := x.Snapshot()
			for _, d := range c.delay {
				p := s.prepare(t, s.New(), x, "a")
				s.holdAndKill(t, c.role, p, d)
				if s.KernelUndoes {
					for end := time.Now().Add(limit); x.Snapshot() != before && time.Now().Before(end); {
						time.Sleep(time.Millisecond)
					}
					same(t, x, before, "after kill -9 "+c.role+", by the kernel alone")
				}
				s.revertFresh(t, p)
				same(t, x, before, "after kill -9 "+c.role+" and a fresh process's revert")
				s.revertFresh(t, p)
				same(t, x, before, "after a second revert")
			}
		})
	}
}

func spread(n int, step time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(i) * step
	}
	return out
}

// command is a copy of this test binary in a role.
func (s suite) command(t *testing.T, r string, p inject.Plan) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(append(os.Environ(), s.Env...), role+"="+r)
	cmd.Stdin = bytes.NewReader(append(b, '\n'))
	return cmd
}

func (s suite) holdAndKill(t *testing.T, r string, p inject.Plan, d time.Duration) {
	t.Helper()
	cmd := s.command(t, r, p)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	for start := time.Now(); time.Since(start) < d; { // a sleep is never this short
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil || line != r+"\n" {
		t.Fatalf("holder %s: said %q, %v: %s", r, line, err, log.String())
	}
}

func (s suite) revertFresh(t *testing.T, p inject.Plan) {
	t.Helper()
	if out, err := s.command(t, fresh, p).CombinedOutput(); err != nil {
		t.Fatalf("revert by a fresh process: %v: %s", err, out)
	}
}
