//go:build vm

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/lab/vm"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestVMReboot cuts a machine's power while a process is paused and a peer is cut
// off, with a journal that outlives the boot. The agent of the next boot says that
// nothing of them exists, and touches nothing: not the process that has the pid now.
func TestVMReboot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	m := vm.Machine{Modules: []string{"nf_tables", "nft_fwd_netdev", "dummy"}}
	if !vm.Inside() {
		m.Disk = filepath.Join(t.TempDir(), "disk")
		if err := vm.MakeDisk(ctx, m.Disk, 32); err != nil {
			t.Fatal(err)
		}
		m.Programs = map[string]string{"/bin/lockaudit-agent": build(t)}
		injectAndCutPower(ctx, t, m)
	}
	vm.Suite(t, m, []vm.Case{{Name: "the next boot", Test: nextBoot}})
}

func injectAndCutPower(ctx context.Context, t *testing.T, m vm.Machine) {
	door, err := vm.Build(t.TempDir(), "lab/vm/exec")
	if err != nil {
		t.Fatal(err)
	}
	v := vm.BootTest(t, m)
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{door, v.Door(), "LOCKAUDIT_STATE=/disk/state", "/bin/lockaudit-agent"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Start(ctx, agent.ProcSpec{Name: "a", Argv: []string{"/bin/sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []inject.Spec{
		{Kind: "pause", For: 10 * time.Minute, Params: fmt.Appendf(nil, `{"pid":%d}`, p.PID)},
		{Kind: "partition", For: 10 * time.Minute, Params: []byte(`{"peers":["10.99.0.2"]}`)},
	} {
		if _, err := c.Inject(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	v.MustRun(t, "write", "/disk/pid", fmt.Sprint(p.PID))
	v.Kill()
	if err := c.Close(); err == nil || len(c.Unconfirmed()) != 2 {
		t.Errorf("after the power cut the auditor has %v and %v unconfirmed, want both faults", err, c.Unconfirmed())
	}
}

func nextBoot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	occupant := occupy(t)
	plans, err := agent.Journaled("/disk/state")
	if err != nil || len(plans) != 2 {
		t.Fatalf("the journal has %d plans, %v, want 2", len(plans), err)
	}
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{"/bin/lockaudit-agent"}, Env: []string{"LOCKAUDIT_STATE=/disk/state"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	found := c.Hello().Recovered
	for _, r := range found {
		if r.Outcome != agent.OutcomeRebooted {
			t.Errorf("recovered: %+v, want %s", r, agent.OutcomeRebooted)
		}
	}
	if len(found) != 2 {
		t.Errorf("recovered: %+v, want both", found)
	}
	if plans, err = agent.Journaled("/disk/state"); err != nil || len(plans) != 0 {
		t.Errorf("the journal still has %+v, %v", plans, err)
	}
	if s, err := inject.ReadStat(occupant); err != nil || !s.Stopped() {
		t.Errorf("process %d, which somebody else has stopped, was resumed: %+v, %v", occupant, s, err)
	}
	n, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	if tables, err := n.ListTables(); err != nil || len(tables) != 0 {
		t.Errorf("tables: %v, %v", tables, err)
	}
}

// occupy starts a process with the pid of the one that was paused before the
// reboot, and stops it as somebody else would.
func occupy(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/disk/pid")
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	for range 100 { // another process may be born in between
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
		if cmd.Process.Pid != pid {
			continue
		}
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for s, err := inject.ReadStat(pid); !s.Stopped(); s, err = inject.ReadStat(pid) {
			if err != nil {
				t.Fatal(err)
			}
		}
		return pid
	}
	t.Fatalf("pid %d is not to be had", pid)
	return 0
}

// TestVMDegradeIsReverted: the kernel does not undo netem, so somebody has to,
// whoever is killed or stopped.
func TestVMDegradeIsReverted(t *testing.T) {
	m := vm.Machine{Modules: []string{"dummy", "sch_netem", "sch_prio", "cls_flower"}}
	if !vm.Inside() {
		m.Programs = map[string]string{"/bin/lockaudit-agent": build(t)}
	}
	var cases []vm.Case
	for name, end := range endings() {
		cases = append(cases, vm.Case{Name: name, Test: func(t *testing.T) { degradeAnd(t, end) }})
	}
	vm.Suite(t, m, cases)
}

func degradeAnd(t *testing.T, end ending) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before := dummyQdiscs(t)
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{"/bin/lockaudit-agent"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := inject.Spec{Kind: "degrade", For: 10 * time.Minute, Params: []byte(`{"peers":["10.99.0.2"],"delay":1000000,"loss":1}`)}
	if end.in > 0 {
		s.For = end.in
	}
	if _, err := c.Inject(ctx, s); err != nil {
		t.Fatal(err)
	}
	if end.by != nil {
		if now := dummyQdiscs(t); !strings.Contains(now, "netem") {
			t.Fatalf("netem is not there: %s", now)
		}
		end.by(t, c)
	}
	if end.heal {
		healDegrade(t)
	}
	for now := dummyQdiscs(t); now != before; now = dummyQdiscs(t) {
		if ctx.Err() != nil {
			t.Fatalf("there is %s, and was %s", now, before)
		}
		time.Sleep(time.Millisecond)
	}
	_ = unix.Kill(c.Hello().PID, unix.SIGCONT)
}

func healDegrade(t *testing.T) {
	if now := dummyQdiscs(t); !strings.Contains(now, "netem") {
		t.Fatalf("the kernel has undone it, which docs/faults/degrade.md denies: %s", now)
	}
	if out, status := runIt(t, "/bin/lockaudit-agent", "/run/lockaudit-agent", "heal"); status != 0 || !strings.Contains(out, "noqueue is back") {
		t.Errorf("heal: %d, %s", status, out)
	}
	if out, status := runIt(t, "/bin/lockaudit-agent", "/run/lockaudit-agent", "heal"); status != 0 || !strings.Contains(out, "nothing to heal") {
		t.Errorf("heal again: %d, %s", status, out)
	}
}

// dummyQdiscs is what dummy0, which leads to 10.99.0.2, sends through.
func dummyQdiscs(t *testing.T) string {
	t.Helper()
	l, err := netlink.LinkByName("dummy0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr("10.99.0.1/24")
	if err == nil {
		err = errors.Join(netlink.AddrReplace(l, a), netlink.LinkSetUp(l))
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := netlink.QdiscList(l)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, q := range all {
		words = append(words, fmt.Sprintf("%s %x", q.Type(), q.Attrs().Handle))
	}
	return strings.Join(words, ", ")
}
