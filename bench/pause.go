package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/pause"
)

// lab is the real agent binary, built for the run, and a state directory.
type lab struct {
	dir string
	exe string
	// disk and memory are state directories; memory is like /run, where root's journal lies
	// unless told otherwise.
	disk, memory string
}

func newLab(ctx context.Context) (*lab, error) {
	dir, err := os.MkdirTemp("", "lockaudit-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, exe: filepath.Join(dir, "lockaudit-agent"), disk: filepath.Join(dir, "state")}
	if l.memory, err = os.MkdirTemp("/dev/shm", "lockaudit-bench-"); err != nil {
		return nil, errors.Join(fmt.Errorf("make state directory in memory: %w", err), os.RemoveAll(dir))
	}
	if err := l.build(ctx, "lockaudit-agent"); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) close() error { return errors.Join(os.RemoveAll(l.dir), os.RemoveAll(l.memory)) }

func (l *lab) dial(ctx context.Context) (*agent.Conn, error) { return l.dialWith(ctx, l.memory) }

func (l *lab) dialWith(ctx context.Context, state string) (*agent.Conn, error) {
	return agent.Dial(ctx, agent.Command{Argv: []string{l.exe}, Env: []string{"LOCKAUDIT_STATE=" + state}}, nil)
}

func spec(pid int, d time.Duration) inject.Spec {
	return inject.Spec{Kind: pause.Kind, For: d, Params: []byte(`{"pid":` + strconv.Itoa(pid) + `}`)}
}

// sleeper is a process to pause that does nothing.
func sleeper() (*exec.Cmd, func(), error) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	return cmd, func() { _, _ = cmd.Process.Kill(), cmd.Wait() }, nil
}

// until spins until the process is or is no longer stopped, and returns when.
func until(pid int, stopped bool) (time.Time, error) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		s, err := inject.ReadStat(pid)
		if err != nil {
			return time.Time{}, err
		}
		if s.Stopped() == stopped {
			return time.Now(), nil
		}
	}
	return time.Time{}, fmt.Errorf("process %d: stopped is not %v within 10 s", pid, stopped)
}

// timed returns how long after the start of act the process was seen in the
// state, once act had returned: somebody who looks meanwhile would take a core.
func timed(pid int, stopped bool, act func() error) (float64, error) {
	start := time.Now()
	if err := act(); err != nil {
		return 0, err
	}
	at, err := until(pid, stopped)
	return millis(at.Sub(start)), err
}

// pauseOrder compares an order to an agent, the fault alone, and a forked kill.
func pauseOrder(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	c, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	onDisk, err := l.dialWith(ctx, l.disk)
	if err != nil {
		return nil, err
	}
	defer onDisk.Close()
	target, end, err := sleeper()
	if err != nil {
		return nil, err
	}
	defer end()
	pid := target.Process.Pid
	var signalled, order, resume, disk, diskResume, alone, aloneResume, forked, forkedResume []float64
	fault := pause.New()
	for range 100 * n {
		var f agent.Fault
		var plan inject.Plan
		for _, m := range []struct {
			into    *[]float64
			stopped bool
			act     func() error
		}{
			{&order, true, func() (err error) {
				start := inject.Now()
				f, err = c.Inject(ctx, spec(pid, time.Minute))
				signalled = append(signalled, millis(f.InjectedAt-start))
				return err
			}},
			{&resume, false, func() (err error) { _, err = c.Revert(ctx, f.ID); return err }},
			{&disk, true, func() (err error) { f, err = onDisk.Inject(ctx, spec(pid, time.Minute)); return err }},
			{&diskResume, false, func() (err error) { _, err = onDisk.Revert(ctx, f.ID); return err }},
			{&alone, true, func() (err error) {
				if plan, err = fault.Prepare(ctx, spec(pid, time.Minute)); err == nil {
					_, err = fault.Inject(ctx, plan)
				}
				return err
			}},
			{&aloneResume, false, func() (err error) { _, err = fault.Revert(ctx, plan); return err }},
			{&forked, true, func() error { return exec.CommandContext(ctx, "/bin/kill", "-STOP", strconv.Itoa(pid)).Run() }},
			{&forkedResume, false, func() error { return exec.CommandContext(ctx, "/bin/kill", "-CONT", strconv.Itoa(pid)).Run() }},
		} {
			ms, err := timed(pid, m.stopped, m.act)
			if err != nil {
				return nil, err
			}
			*m.into = append(*m.into, ms)
		}
	}
	return []row{
		{"order to agent, journalled, stopped", "median < 1", signalled, "ms"},
		{"the same until the answer that state T was seen", "", order, "ms"},
		{"the same with the journal on disk", "", disk, "ms"},
		{"the same without agent and journal", "", alone, "ms"},
		{"alternative: fork kill -STOP, state T", "", forked, "ms"},
		{"order to agent, resumed", "", resume, "ms"},
		{"the same with the journal on disk", "", diskResume, "ms"},
		{"the same without agent and journal", "", aloneResume, "ms"},
		{"alternative: fork kill -CONT, resumed", "", forkedResume, "ms"},
	}, nil
}

// killBoth measures how soon the kernel resumes the target of dead keepers.
func killBoth(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	var after []float64
	for range 100 * n {
		ms, err := l.killOnce(ctx)
		if err != nil {
			return nil, err
		}
		after = append(after, ms)
	}
	return []row{{"kill -9 of agent and guard, target runs", "p99 < 20", after, "ms"}}, nil
}

func (l *lab) killOnce(ctx context.Context) (float64, error) {
	target, end, err := sleeper()
	if err != nil {
		return 0, err
	}
	defer end()
	c, err := l.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close() // its error is that we killed it
	if _, err := c.Inject(ctx, spec(target.Process.Pid, time.Minute)); err != nil {
		return 0, err
	}
	h := c.Hello()
	return timed(target.Process.Pid, false, func() error {
		// The guard first: the other way round it might still revert in order.
		return errors.Join(syscall.Kill(h.GuardPID, syscall.SIGKILL), syscall.Kill(h.PID, syscall.SIGKILL))
	})
}

// agentSize measures agent and guard at rest.
func agentSize(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	st, err := os.Stat(l.exe)
	if err != nil {
		return nil, err
	}
	var rss []float64
	for range 5 * n {
		c, err := l.dial(ctx)
		if err != nil {
			return nil, err
		}
		a, err1 := residentMiB(c.Hello().PID)
		g, err2 := residentMiB(c.Hello().GuardPID)
		if err := errors.Join(err1, err2, c.Close()); err != nil {
			return nil, err
		}
		rss = append(rss, a+g)
	}
	return []row{
		{"agent and guard together, resident", "< 15", rss, "MiB"},
		{"binary", "< 15", []float64{float64(st.Size()) / 1e6}, "MB"},
	}, nil
}
