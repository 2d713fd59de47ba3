//go:build vm

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/lab/vm"

	"golang.org/x/sys/unix"
)

// wall is the wall clock against the one that nothing adjusts.
func wall(t *testing.T) time.Duration {
	t.Helper()
	if !vm.Inside() {
		t.Fatal("this is not a virtual machine")
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano()) - inject.Now()
}

var clockStep = inject.Spec{Kind: "clock-node", For: 10 * time.Minute, Params: []byte(`{"offset":3600000000000,"drift_ppm":400}`)}

// TestVMNodeClockIsReverted: the kernel does not undo it, so somebody has to, whoever
// is killed.
func TestVMNodeClockIsReverted(t *testing.T) {
	m := vm.Machine{}
	if !vm.Inside() {
		m.Programs = map[string]string{"/bin/lockaudit-agent": build(t)}
	}
	var cases []vm.Case
	for name, end := range map[string]func(*testing.T, *agent.Conn){
		"at the deadline":       nil,
		"agent killed":          func(t *testing.T, c *agent.Conn) { kill(t, c.Hello().PID) },
		"guard killed":          func(t *testing.T, c *agent.Conn) { kill(t, c.Hello().GuardPID) },
		"agent terminated":      func(t *testing.T, c *agent.Conn) { terminate(t, c.Hello().PID) },
		"connection lost":       func(t *testing.T, c *agent.Conn) { _ = c.Close() },
		"both killed, and heal": killBothAndHealClock,
	} {
		cases = append(cases, vm.Case{Name: name, Test: func(t *testing.T) { stepAnd(t, end) }})
	}
	vm.Suite(t, m, cases)
}

func stepAnd(t *testing.T, end func(*testing.T, *agent.Conn)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before := wall(t)
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{"/bin/lockaudit-agent", "--allow-node-clock"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := clockStep
	if end == nil {
		s.For = 500 * time.Millisecond
	}
	if _, err := c.Inject(ctx, s); err != nil {
		t.Fatal(err)
	}
	if end != nil {
		if d := wall(t) - before; d < time.Hour-time.Minute || d > time.Hour+time.Minute {
			t.Fatalf("the clock is %v off", d)
		}
		end(t, c)
	}
	for d := wall(t) - before; d.Abs() > 10*time.Millisecond; d = wall(t) - before {
		if ctx.Err() != nil {
			t.Fatalf("the clock is %v off", d)
		}
		time.Sleep(time.Millisecond)
	}
}

func killBothAndHealClock(t *testing.T, c *agent.Conn) {
	h := c.Hello()
	was := wall(t)
	if err := unix.Kill(h.PID, unix.SIGSTOP); err != nil { // or it would start another guard
		t.Fatal(err)
	}
	kill(t, h.GuardPID)
	kill(t, h.PID)
	_ = c.Close()
	if d := wall(t) - was; d.Abs() > time.Minute {
		t.Fatalf("the kernel has undone it, which docs/faults/clock-node.md denies: %v", d)
	}
	// Without --allow-node-clock: to heal needs no permission.
	if out, status := runIt(t, "/bin/lockaudit-agent", "/run/lockaudit-agent", "heal"); status != 0 {
		t.Errorf("heal: %d, %s", status, out)
	}
}

// TestVMNodeClockReboot cuts the power while the clock is an hour ahead. The next
// boot has the right time, from the hardware's clock, and its agent leaves it alone.
func TestVMNodeClockReboot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	m := vm.Machine{}
	if !vm.Inside() {
		m.Disk = filepath.Join(t.TempDir(), "disk")
		if err := vm.MakeDisk(ctx, m.Disk, 32); err != nil {
			t.Fatal(err)
		}
		m.Programs = map[string]string{"/bin/lockaudit-agent": build(t)}
		door, err := vm.Build(t.TempDir(), "lab/vm/exec")
		if err != nil {
			t.Fatal(err)
		}
		v := vm.BootTest(t, m)
		c, err := agent.Dial(ctx, agent.Command{Argv: []string{door, v.Door(), "LOCKAUDIT_STATE=/disk/state", "/bin/lockaudit-agent", "--allow-node-clock"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		// The machine has its time from this one's clock, which is the judge.
		v.MustRun(t, "write", "/disk/host", strconv.FormatInt(time.Now().Unix(), 10))
		if _, err := c.Inject(ctx, clockStep); err != nil {
			t.Fatal(err)
		}
		v.Kill()
		_ = c.Close()
	}
	vm.Suite(t, m, []vm.Case{{Name: "the next boot", Test: rightTimeAfterReboot}})
}

func rightTimeAfterReboot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := os.ReadFile("/disk/host")
	if err != nil {
		t.Fatal(err)
	}
	then, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(time.Unix(then, 0)); d < 0 || d > 10*time.Minute {
		t.Errorf("the next boot's clock is %v after the step, which was of an hour", d)
	}
	before := wall(t)
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{"/bin/lockaudit-agent", "--allow-node-clock"}, Env: []string{"LOCKAUDIT_STATE=/disk/state"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if found := c.Hello().Recovered; len(found) != 1 || found[0].Outcome != agent.OutcomeRebooted {
		t.Errorf("recovered: %+v, want one %s", found, agent.OutcomeRebooted)
	}
	if d := wall(t) - before; d.Abs() > 10*time.Millisecond {
		t.Errorf("the agent of the next boot has set the clock by %v", d)
	}
	if plans, err := agent.Journaled("/disk/state"); err != nil || len(plans) != 0 {
		t.Errorf("the journal has %v, %v", fmt.Sprint(plans), err)
	}
}
