package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
)

// dying is a kind of fault, and how its end is seen after agent and guard are gone.
type dying struct {
	what, target string
	spec         func(pid int, dir string) inject.Spec
	heal         bool // it waits for lockaudit-agent heal
	over         func(pid int, dir string) bool
	lasts        time.Duration // so long it must be over to be over for good
	place        func(pid int) (leave func(), err error)
	network      bool // the target has one of its own
}

func dyings() []dying {
	order := func(kind, params string) func(int, string) inject.Spec {
		return func(pid int, dir string) inject.Spec {
			p := strings.NewReplacer("PID", fmt.Sprint(pid), "DIR", dir).Replace(params)
			return inject.Spec{Kind: kind, For: time.Minute, Patience: 2 * time.Second, Params: []byte(p)}
		}
	}
	runs := func(pid int, _ string) bool {
		s, err := inject.ReadStat(pid)
		return err == nil && !s.Stopped()
	}
	return []dying{
		{what: "pause by SIGSTOP: the kernel", target: "< 20", spec: order("pause", `{"pid":PID}`), over: runs},
		{what: "pause by ptrace: the kernel", target: "< 20", spec: order("pause", `{"pid":PID,"method":"ptrace"}`), over: runs},
		{what: "stutter, 20 ms, 90 %: the kernel", target: "< 20", spec: order("pause", `{"pid":PID,"period":20000000,"duty":0.9}`), over: runs, lasts: 60 * time.Millisecond},
		{what: "pause by the freezer: heal, as systemd runs it", target: "median < 100", spec: order("pause", `{"pid":PID,"method":"freezer"}`), heal: true, over: thawed, place: inScope},
		{what: "hold: the kernel", target: "median < 100", spec: order("hold", `{"peers":["10.99.0.2"],"direction":"out","netns":{"pid":PID}}`), over: released, network: true},
		{what: "crash: its standby is the server", target: "median < 100", spec: order("crash", `{"target":{"pid":PID},"down_for":60000000000}`),
			over: func(_ int, dir string) bool { return serves(dir) }},
		{what: "clock of a process: heal, as systemd runs it", target: "median < 100", spec: order("clock", `{"target":{"pid":PID},"offset":3600000000000}`), heal: true},
		{what: "hook: heal, as systemd runs it", target: "median < 100", spec: order("hook", `{"inject":["touch","DIR/file"],"revert":["rm","-f","DIR/file"],"check":["test","!","-e","DIR/file"]}`), heal: true,
			over: func(_ int, dir string) bool { _, err := os.Stat(dir + "/file"); return errors.Is(err, os.ErrNotExist) }},
	}
}

// serves looks for the server that a standby has become: its directory names it.
func serves(dir string) bool {
	procs, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, p := range procs {
		if to, err := os.Readlink(p); err == nil && to == dir {
			if comm, err := os.ReadFile(filepath.Dir(p) + "/comm"); err == nil && string(comm) == "sleep\n" {
				return true
			}
		}
	}
	return false
}

// healKinds measures from the death of agent and guard to the end of the fault, per kind,
// and beside it the orders of an agent that lives, and the switch when both are stopped.
func healKinds(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	var rows []row
	for _, d := range dyings() {
		var dead, ordered []float64
		for range 10 * n {
			ms, err := l.dieOnce(ctx, d, true)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d.what, err)
			}
			dead = append(dead, ms)
			if ms, err = l.dieOnce(ctx, d, false); err != nil {
				return nil, fmt.Errorf("%s: %w", d.what, err)
			}
			ordered = append(ordered, ms)
		}
		rows = append(rows, row{d.what, d.target, dead, "ms"}, row{"the same by an order to an agent that lives", "", ordered, "ms"})
	}
	var late []float64
	for range 3 * n {
		ms, err := l.stopOnce(ctx)
		if err != nil {
			return nil, err
		}
		late = append(late, ms)
	}
	return append(rows, row{"both stopped: a pause is over after its deadline", "2 000 to 2 100", late, "ms"}), nil
}

func (l *lab) dieOnce(ctx context.Context, d dying, kill bool) (float64, error) {
	dir, err := os.MkdirTemp(l.dir, "target-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	target := exec.Command("sleep", fmt.Sprintf("1000.%d", time.Now().UnixNano()))
	target.Dir = dir
	if d.network {
		target.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if err := target.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = target.Wait()
	}()
	if d.place != nil {
		leave, err := d.place(target.Process.Pid)
		defer leave()
		defer func() { <-ended }()
		if err != nil {
			endIn(dir)
			return 0, err
		}
	}
	defer endIn(dir)
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{l.exe, "--allow-commands"}, Env: []string{"LOCKAUDIT_STATE=" + l.memory}}, nil)
	if err != nil {
		return 0, err
	}
	defer c.Close() // its error is that we killed it
	f, err := c.Inject(ctx, d.spec(target.Process.Pid, dir))
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if !kill {
		_, err = c.Revert(ctx, f.ID)
	} else if h := c.Hello(); true {
		err = errors.Join(syscall.Kill(h.GuardPID, syscall.SIGKILL), syscall.Kill(h.PID, syscall.SIGKILL))
	}
	if err == nil && kill && d.heal {
		cmd := exec.CommandContext(ctx, l.exe, "heal")
		cmd.Env = append(os.Environ(), "LOCKAUDIT_STATE="+l.memory)
		if out, e := cmd.CombinedOutput(); e != nil {
			err = fmt.Errorf("heal: %w: %s", e, out)
		}
	}
	took := millis(time.Since(start))
	for was := false; err == nil && d.over != nil; {
		is, since := d.over(target.Process.Pid, dir), time.Since(start)
		if is && !was {
			took = millis(since)
		}
		if was = is; is && millis(since)-took >= millis(d.lasts) {
			break
		}
		if since > 10*time.Second {
			err = errors.New("it is not over within 10 s")
		}
	}
	if err == nil && kill && !d.heal { // the journal, for the next round
		cmd := exec.CommandContext(ctx, l.exe, "heal")
		cmd.Env = append(os.Environ(), "LOCKAUDIT_STATE="+l.memory)
		err = cmd.Run()
	}
	return took, err
}

// endIn ends whatever runs in a directory.
func endIn(dir string) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, p := range procs {
		var pid int
		if to, err := os.Readlink(p); err == nil && to == dir {
			if _, err := fmt.Sscanf(p, "/proc/%d/cwd", &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

func (l *lab) stopOnce(ctx context.Context) (float64, error) {
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
	f, err := c.Inject(ctx, spec(target.Process.Pid, 500*time.Millisecond))
	if err != nil {
		return 0, err
	}
	h := c.Hello()
	defer func() { _, _ = syscall.Kill(h.PID, syscall.SIGKILL), syscall.Kill(h.GuardPID, syscall.SIGKILL) }()
	if err := errors.Join(syscall.Kill(h.PID, syscall.SIGSTOP), syscall.Kill(h.GuardPID, syscall.SIGSTOP)); err != nil {
		return 0, err
	}
	_, err = until(target.Process.Pid, false)
	return millis(inject.Now() - f.Deadline), err
}
