package pause_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/pause"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"

	"golang.org/x/sys/unix"
)

// TestConformanceFreezer: the kernel does not thaw when the holder dies.
func TestConformanceFreezer(t *testing.T) {
	conform(t, func(t *testing.T) injecttest.Target {
		group, cmd, pids := startContainer(t)
		return injecttest.Target{
			Params:   freezerParams(cmd.Process.Pid),
			Snapshot: func() string { return groupState(group) + states(pids) },
			Remove:   func() { killAll(cmd, pids) },
		}
	}, false)
}

func freezerParams(pid int) []byte { return fmt.Appendf(nil, `{"pid":%d,"method":"freezer"}`, pid) }

// startContainer starts the tree in a cgroup as a container's runtime makes it.
func startContainer(t *testing.T) (group string, cmd *exec.Cmd, pids []int) {
	t.Helper()
	group = filepath.Join(systemdtest.NewGroup(t), "docker-"+strings.Repeat("0a", 32)+".scope")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd, pids = startTreeWith(t, &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())})
	return group, cmd, pids
}

// groupState is everything that a fault may change of a cgroup.
func groupState(group string) string {
	freeze, _ := os.ReadFile(filepath.Join(group, "cgroup.freeze"))
	events, _ := os.ReadFile(filepath.Join(group, "cgroup.events"))
	marks := make([]byte, 1024)
	n, _ := unix.Listxattr(group, marks)
	return fmt.Sprintf("freeze=%s frozen=%v marks=%q\n", strings.TrimSpace(string(freeze)), strings.Contains(string(events), "frozen 1"), marks[:max(n, 0)])
}

func prepareFreezer(t *testing.T, pid int) (inject.Plan, error) {
	t.Helper()
	p, err := pause.New().Prepare(context30(t), inject.Spec{Kind: pause.Kind, For: time.Minute, Params: freezerParams(pid)})
	p.ID = "a"
	return p, err
}

func refusedBecause(t *testing.T, err error, words string) {
	t.Helper()
	if !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), words) {
		t.Errorf("%v, want %v because %s", err, inject.ErrRefused, words)
	}
}

func TestFreezerRefusals(t *testing.T) {
	group, cmd, _ := startContainer(t)
	pid := cmd.Process.Pid
	// A process of no unit or container.
	_, outside := startTree(t)
	_, err := prepareFreezer(t, outside[0])
	refusedBecause(t, err, "is in no unit or container of its own")

	// Frozen already, by the cgroup itself or by one above it.
	for _, dir := range []string{group, filepath.Dir(group)} {
		freeze := filepath.Join(dir, "cgroup.freeze")
		if err := os.WriteFile(freeze, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return strings.Contains(groupState(group), "frozen=true") })
		_, err = prepareFreezer(t, pid)
		refusedBecause(t, err, "is frozen already")
		if err := os.WriteFile(freeze, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return strings.Contains(groupState(group), "frozen=false") })
	}

	// It is stopped already.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { s, _ := inject.ReadStat(pid); return s.Stopped() })
	_, err = prepareFreezer(t, pid)
	refusedBecause(t, err, fmt.Sprintf("process %d (sh) is stopped already", pid))
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { s, _ := inject.ReadStat(pid); return !s.Stopped() })
	// Another process in it must not be stopped.
	below := filepath.Join(group, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	move(t, below, startNamed(t, "sshd"))
	_, err = prepareFreezer(t, pid)
	refusedBecause(t, err, "(sshd) keeps the node")
}

// TestFreezerRefusesItself: the cgroup that holds the guard cannot be frozen, not
// even if the guard came in after Prepare.
func TestFreezerRefusesItself(t *testing.T) {
	group, cmd, _ := startContainer(t)
	p, err := prepareFreezer(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	m, err := target.CgroupMount()
	if err != nil {
		t.Fatal(err)
	}
	self, err := target.Resolve(context30(t), target.Selector{PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	home, err := m.Path(self.Cgroup)
	if err != nil {
		t.Fatal(err)
	}
	// If the protection fails, this process stands still: somebody else has to thaw it.
	rescue := exec.Command("sh", "-c", `sleep 15; echo 0 > "$0"`, filepath.Join(group, "cgroup.freeze"))
	rescue.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := rescue.Start(); err != nil {
		t.Fatal(err)
	}
	defer killAll(rescue, nil)
	move(t, group, os.Getpid())
	defer move(t, home, os.Getpid())
	_, err = prepareFreezer(t, cmd.Process.Pid)
	refusedBecause(t, err, "is the agent, its guard or an ancestor")
	f := pause.New()
	before := groupState(group)
	_, err = f.Inject(context30(t), p)
	refusedBecause(t, err, "is the agent, its guard or an ancestor")
	if _, err := f.Revert(context30(t), p); err != nil {
		t.Error(err)
	}
	if now := groupState(group); strings.Contains(now, "lockaudit") {
		t.Errorf("after revert: %s, before %s", now, before)
	}
}

// TestFreezerLeavesOthersFrozen: what somebody else has frozen in the meantime is
// neither taken over nor thawed.
func TestFreezerLeavesOthersFrozen(t *testing.T) {
	group, cmd, _ := startContainer(t)
	p, err := prepareFreezer(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return strings.Contains(groupState(group), "frozen=true") })
	before := groupState(group)
	f := pause.New()
	_, err = f.Inject(context30(t), p)
	refusedBecause(t, err, "is frozen already")
	for range 2 {
		e, err := f.Revert(context30(t), p)
		if err != nil || groupState(group) != before {
			t.Fatalf("after revert: %s, %v, before %s", groupState(group), err, before)
		}
		if !strings.Contains(e.Seen, "by others") && !strings.Contains(e.Seen, "run") {
			t.Errorf("seen: %s", e.Seen)
		}
		f = pause.New()
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
}

// TestFreezerLeavesOthersStopped: a process of the cgroup that somebody else has stopped is
// stopped before, while and after it is frozen.
func TestFreezerLeavesOthersStopped(t *testing.T) {
	_, cmd, pids := startContainer(t)
	if err := syscall.Kill(pids[2], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	isStopped := func() bool { s, err := inject.ReadStat(pids[2]); return err == nil && s.State == 'T' }
	await(t, isStopped)
	p, err := prepareFreezer(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	f := pause.New()
	if e, err := f.Inject(context30(t), p); err != nil || e.Count != len(pids) {
		t.Errorf("%+v, %v, want %d processes frozen", e, err, len(pids))
	}
	if _, err := f.Revert(context30(t), p); err != nil {
		t.Error(err)
	}
	if !isStopped() {
		t.Error("what others have stopped runs after the thaw")
	}
	if err := syscall.Kill(pids[2], syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return !isStopped() })
}

// TestFreezerTwoFaults: a cgroup belongs to one fault.
func TestFreezerTwoFaults(t *testing.T) {
	group, cmd, _ := startContainer(t)
	a, err := prepareFreezer(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	b := a
	b.ID = "b"
	f, other := pause.New(), pause.New()
	if _, err := f.Inject(context30(t), a); err != nil {
		t.Fatal(err)
	}
	_, err = other.Inject(context30(t), b)
	refusedBecause(t, err, "is paused by fault a")
	if _, err := other.Revert(context30(t), b); err != nil {
		t.Error(err)
	}
	if !strings.Contains(groupState(group), "frozen=true") {
		t.Error("the revert of a refused fault has thawed another's")
	}
	if _, err := f.Revert(context30(t), a); err != nil {
		t.Error(err)
	}
}

// TestFreezerUnit freezes a service of a real systemd, with everything that it
// forks meanwhile, and the unit is as it was afterwards.
func TestFreezerUnit(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		m.Start(t, "forks.service", "[Service]\nExecStart=/bin/sh -c 'while :; do sleep 1000 & sleep 0.005; done'\n")
		group := "/sys/fs/cgroup/system.slice/forks.service"
		await(t, func() bool {
			now, _ := os.ReadFile(group + "/cgroup.procs")
			return strings.Count(string(now), "\n") > 3
		})
		f := pause.New()
		spec := inject.Spec{Kind: pause.Kind, For: time.Minute, Params: []byte(`{"target":{"unit":"forks"},"method":"freezer"}`)}
		p, err := f.Prepare(context30(t), spec)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.Objects[0], "cgroup /system.slice/forks.service (unit forks.service): frozen by cgroup.freeze") {
			t.Errorf("objects: %q", p.Objects)
		}
		p.ID = "a"
		e, err := f.Inject(context30(t), p)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(group + "/cgroup.procs")
		if n := len(strings.Fields(string(before))); n != e.Count || n < 2 {
			t.Errorf("%s, and the cgroup holds %d", e.Seen, n)
		}
		for range 50 {
			if now, _ := os.ReadFile(group + "/cgroup.procs"); string(now) != string(before) {
				t.Fatal("a frozen service forks")
			}
			time.Sleep(time.Millisecond)
		}
		// From another process than the one that froze it, as after a crash.
		if e, err := pause.New().Revert(context30(t), p); err != nil || !strings.Contains(e.Seen, "processes run in cgroup") {
			t.Errorf("revert: %+v, %v", e, err)
		}
		await(t, func() bool { now, _ := os.ReadFile(group + "/cgroup.procs"); return string(now) != string(before) })
		if s := groupState(group); strings.Contains(s, "lockaudit") {
			t.Errorf("left: %s", s)
		}
		if _, err := f.Prepare(context30(t), inject.Spec{Kind: pause.Kind, For: time.Minute, Params: []byte(`{"target":{"unit":"init.scope"},"method":"freezer"}`)}); !errors.Is(err, inject.ErrRefused) {
			t.Errorf("init.scope: %v, want %v", err, inject.ErrRefused)
		}
	})
}

// TestFreezerUnitRestarts: what systemd starts in the place of a killed service is
// frozen like it, or in a new cgroup; it runs after the revert, and no mark is left.
func TestFreezerUnitRestarts(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		old := m.Start(t, "again.service", "[Service]\nExecStart=/bin/sh -c 'while :; do sleep 0.005; done'\nRestart=always\nRestartSec=0\n")
		f := pause.New()
		p, err := f.Prepare(context30(t), inject.Spec{Kind: pause.Kind, For: time.Minute, Params: []byte(`{"target":{"unit":"again"},"method":"freezer"}`)})
		if err != nil {
			t.Fatal(err)
		}
		p.ID = "a"
		if _, err := f.Inject(context30(t), p); err != nil {
			t.Fatal(err)
		}
		// With what it has started: systemd first waits for the end of that, which is frozen.
		procs, err := os.ReadFile("/sys/fs/cgroup/system.slice/again.service/cgroup.procs")
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range strings.Fields(string(procs)) {
			n, err := strconv.Atoi(pid)
			if err == nil {
				err = syscall.Kill(n, syscall.SIGKILL)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		await(t, func() bool { pid := m.MainPID(t, "again.service"); return pid != 0 && pid != old })
		if _, err := f.Revert(context30(t), p); err != nil {
			t.Fatal(err)
		}
		if s := groupState("/sys/fs/cgroup/system.slice/again.service"); strings.Contains(s, "lockaudit") || strings.Contains(s, "frozen=true") {
			t.Errorf("left: %s", s)
		}
		was := m.MainPID(t, "again.service")
		before, err := inject.Children(context30(t), was)
		await(t, func() bool {
			now, e := inject.Children(context30(t), was)
			return err == nil && e == nil && fmt.Sprint(now) != fmt.Sprint(before) && len(now) > 0
		})
		// The old plan has nothing to do with the new process.
		if _, err := f.Inject(context30(t), p); !errors.Is(err, inject.ErrGone) {
			t.Errorf("inject for the old process: %v, want %v", err, inject.ErrGone)
		}
		if _, err := f.Revert(context30(t), p); err != nil {
			t.Error(err)
		}
	})
}

// move puts a process into a cgroup.
func move(t *testing.T, group string, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		t.Fatal(err)
	}
}

// startNamed starts an ordinary program under another name.
func startNamed(t *testing.T, name string) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	executed(t, cmd.Process.Pid, name)
	return cmd.Process.Pid
}
