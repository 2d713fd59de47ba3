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
// is killed or stopped.
func TestVMNodeClockIsReverted(t *testing.T) {
	m := vm.Machine{}
	if !vm.Inside() {
		m.Programs = map[string]string{"/bin/lockaudit-agent": build(t)}
	}
	var cases []vm.Case
	for name, end := range endings() {
		cases = append(cases, vm.Case{Name: name, Test: func(t *testing.T) { stepAnd(t, end) }})
	}
	vm.Suite(t, m, cases)
}

func stepAnd(t *testing.T, end ending) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before := wall(t)
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{"/bin/lockaudit-agent", "--allow-node-clock"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := clockStep
	if end.in > 0 {
		s.For = end.in
	}
	if _, err := c.Inject(ctx, s); err != nil {
		t.Fatal(err)
	}
	anHourAhead := func(when string) {
		if d := wall(t) - before; d < time.Hour-time.Minute || d > time.Hour+time.Minute {
			t.Fatalf("%s the clock is %v off", when, d)
		}
	}
	if end.by != nil {
		anHourAhead("after inject")
		end.by(t, c)
	}
	if end.heal {
		anHourAhead("with nobody left, which docs/faults/clock-node.md says the kernel does not undo,")
		// Without --allow-node-clock: to heal needs no permission.
		if out, status := runIt(t, "/bin/lockaudit-agent", "/run/lockaudit-agent", "heal"); status != 0 {
			t.Errorf("heal: %d, %s", status, out)
		}
	}
	for d := wall(t) - before; d.Abs() > 10*time.Millisecond; d = wall(t) - before {
		if ctx.Err() != nil {
			t.Fatalf("the clock is %v off", d)
		}
		time.Sleep(time.Millisecond)
	}
	_ = unix.Kill(c.Hello().PID, unix.SIGCONT)
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
