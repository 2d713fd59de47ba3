//go:build vm

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/lab/vm"
	"github.com/lockaudit/lockaudit/lab/vm/wire"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// firstBoot has a copy of this program note what the next boot is compared with.
const firstBoot = "VM_TEST_FIRST_BOOT"

// rebootFaults are in effect when the power goes. The pause needs the process.
func rebootFaults(pid int) []inject.Spec {
	var out []inject.Spec
	for _, x := range []struct{ kind, params string }{
		{"pause", fmt.Sprintf(`{"pid":%d}`, pid)},
		{"partition", `{"peers":["10.77.0.2"]}`},
		{"degrade", `{"peers":["10.77.0.3"],"loss":100}`},
		{"clock-node", clockStep},
	} {
		out = append(out, inject.Spec{Kind: x.kind, For: 10 * time.Minute, Params: []byte(x.params)})
	}
	return out
}

// TestVMReboot cuts a machine's power while a process is paused, one peer is cut off,
// the way to another loses everything and the clock is an hour ahead, with a journal
// that outlives the boot. The agent of the next boot says that nothing of them exists,
// and touches nothing: not the process that has the pid now, not somebody's queueing
// discipline with that number, and not the clock, which the hardware's has set right.
func TestVMReboot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	m := vm.Machine{
		Modules: []string{"nf_tables", "nft_fwd_netdev", "sch_netem", "sch_prio", "cls_flower"},
		IP:      "10.77.0.1/24", Net: vm.NewNet(),
	}
	if os.Getenv(firstBoot) != "" {
		noteFirstBoot(t)
		return
	}
	if !vm.Inside() {
		m.Disk = filepath.Join(t.TempDir(), "disk")
		if err := vm.MakeDisk(ctx, m.Disk, 32); err != nil {
			t.Fatal(err)
		}
		built := vm.BuildTest(t, "cmd/lockaudit-agent", "lab/vm/exec")
		m.Programs = built.Programs()
		injectAndCutPower(ctx, t, m, built)
	}
	vm.Suite(t, m, []vm.Case{{Name: "the next boot", Test: nextBoot}})
}

func injectAndCutPower(ctx context.Context, t *testing.T, m vm.Machine, built vm.Built) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m.Programs["/bin/note.test"] = exe
	v := vm.BootTest(t, m)
	c, err := agent.Dial(ctx, agent.Command{Argv: built.Via(v, "LOCKAUDIT_STATE=/disk/state", "/bin/lockaudit-agent", "--allow-node-clock")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Start(ctx, agent.ProcSpec{Name: "a", Argv: []string{"/bin/sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	// The machine has its time from this one's clock, which is the judge.
	v.MustRun(t, "write", "/disk/host", strconv.FormatInt(time.Now().Unix(), 10))
	v.MustRun(t, "write", "/disk/pid", fmt.Sprint(p.PID))
	faults := rebootFaults(p.PID)
	for _, s := range faults {
		if _, err := c.Inject(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	note, err := v.Start(wire.Program{Argv: []string{"/bin/note.test", "-test.run=^TestVMReboot$"}, Env: []string{firstBoot + "=1"}}, &out, &out)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := note.Wait(ctx); err != nil || st.Code != 0 {
		t.Fatalf("in the first boot: %v, %v: %s", st, err, out.String())
	}
	v.Kill()
	if err := c.Close(); err == nil || len(c.Unconfirmed()) != len(faults) {
		t.Errorf("after the power cut the auditor has %v and %v unconfirmed, want all %d", err, c.Unconfirmed(), len(faults))
	}
}

// noteFirstBoot finds the faults in effect and notes the number of the degraded
// interface's queueing discipline.
func noteFirstBoot(t *testing.T) {
	eth := link(t, "eth0")
	now := qdiscs(t, eth)
	var root uint32
	if _, err := fmt.Sscanf(now, "prio %x,", &root); err != nil || !strings.Contains(now, "netem") {
		t.Fatalf("eth0 sends through %q, %v", now, err)
	}
	host, err := strconv.ParseInt(read(t, "/disk/host"), 10, 64)
	if d := time.Since(time.Unix(host, 0)); err != nil || d < 50*time.Minute {
		t.Errorf("the clock is %v after the host's, %v, want an hour", d, err)
	}
	f, err := os.Create("/disk/root")
	if err == nil {
		_, err = fmt.Fprint(f, root)
	}
	if err != nil || f.Sync() != nil {
		t.Fatal(err)
	}
}

func nextBoot(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	host, err := strconv.ParseInt(read(t, "/disk/host"), 10, 64)
	if d := time.Since(time.Unix(host, 0)); err != nil || d < 0 || d > 10*time.Minute {
		t.Errorf("the next boot's clock is %v after the step, which was of an hour; %v", d, err)
	}
	occupant := occupy(t)
	theirs, clock := occupyRoot(t), wall(t)
	want := rebootFaults(0)
	plans, err := agent.Journaled("/disk/state")
	if err != nil || len(plans) != len(want) {
		t.Fatalf("the journal has %d plans, %v, want %d", len(plans), err, len(want))
	}
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{"/bin/lockaudit-agent", "--allow-node-clock"}, Env: []string{"LOCKAUDIT_STATE=/disk/state"}}, nil)
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
	if len(found) != len(want) {
		t.Errorf("recovered: %+v, want all %d", found, len(want))
	}
	if plans, err = agent.Journaled("/disk/state"); err != nil || len(plans) != 0 {
		t.Errorf("the journal still has %+v, %v", plans, err)
	}
	if s, err := inject.ReadStat(occupant); err != nil || !s.Stopped() {
		t.Errorf("process %d, which somebody else has stopped, was resumed: %+v, %v", occupant, s, err)
	}
	if now := qdiscs(t, link(t, "eth0")); now != theirs {
		t.Errorf("somebody's queueing discipline was %s and is %s", theirs, now)
	}
	if d := wall(t) - clock; d.Abs() > 10*time.Millisecond {
		t.Errorf("the agent of the next boot has set the clock by %v", d)
	}
	n, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	if tables, err := n.ListTables(); err != nil || len(tables) != 0 {
		t.Errorf("tables: %v, %v", tables, err)
	}
}

// occupyRoot gives eth0 a queueing discipline of the number that the fault's had
// before the reboot, as somebody else would.
func occupyRoot(t *testing.T) string {
	t.Helper()
	root, err := strconv.ParseUint(read(t, "/disk/root"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	l := link(t, "eth0")
	if now := qdiscs(t, l); strings.Contains(now, "netem") {
		t.Errorf("netem has outlived the boot: %s", now)
	}
	prio := netlink.NewPrio(netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: uint32(root), Parent: netlink.HANDLE_ROOT})
	if err := netlink.QdiscAdd(prio); err != nil {
		t.Fatal(err)
	}
	return qdiscs(t, l)
}

func link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// occupy starts a process with the pid of the one that was paused before the
// reboot, and stops it as somebody else would.
func occupy(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(read(t, "/disk/pid"))
	if err != nil {
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
