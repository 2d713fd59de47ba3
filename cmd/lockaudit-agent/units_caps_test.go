package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"

	"golang.org/x/sys/unix"
)

const boundingSet = "CapabilityBoundingSet="

// capabilities are those of a unit file.
func capabilities(t *testing.T, content string) (line string, words []string) {
	t.Helper()
	for l := range strings.Lines(content) {
		if set, ok := strings.CutPrefix(strings.TrimSpace(l), boundingSet); ok {
			return boundingSet + set, strings.Fields(set)
		}
	}
	t.Fatal("the unit has no bounding set")
	return "", nil
}

// elsewhere are the capabilities whose need is shown in a virtual machine (TestVMCapabilities),
// because the root of a container has them not.
var elsewhere = []string{"CAP_SYS_RESOURCE"}

// TestUnitNeedsEach: with the capabilities of the unit everything works, and without any one of
// them something does not.
func TestUnitNeedsEach(t *testing.T) {
	exe := program(t)
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		n := newMachine(t, m, exe)
		v := newVictims(t, m)
		whole := unit(t, serviceUnit, exe)
		line, words := capabilities(t, whole)
		if err := n.everything(v); err != nil {
			t.Fatalf("with all of %s: %v", line, err)
		}
		for _, w := range words {
			if slices.Contains(elsewhere, w) {
				continue
			}
			fewer := boundingSet + strings.Join(slices.DeleteFunc(slices.Clone(words), func(x string) bool { return x == w }), " ")
			m.Write(t, serviceUnit, strings.Replace(whole, line, fewer, 1))
			if err := n.everything(v); err == nil {
				t.Errorf("without %s everything works: take it out of the unit", w)
			} else {
				t.Logf("without %s: %v", w, err)
			}
		}
	})
}

// victims are of another user.
type victims struct {
	process int
	netns   string
	unit    string // whose cgroup is its user's
	closed  string // a program in a directory that is closed to others
}

func newVictims(t *testing.T, m *systemdtest.Machine) victims {
	t.Helper()
	v := victims{process: victim(t), unit: "delegated.service"}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	v.netns = fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	m.Start(t, v.unit, "[Service]\nExecStart=/bin/sleep 1000\nUser=65534\nDelegate=yes\n")
	// As the groups are that a user's own service manager makes.
	if err := os.Chown("/sys/fs/cgroup/system.slice/"+v.unit+"/cgroup.freeze", nobody, nobody); err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "closed")
	v.closed = filepath.Join(dir, "client")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(v.closed, b, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	return v
}

const nobody = 65534

// everything that an agent does which takes more than root without capabilities.
func (n machine) everything(v victims) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{n.exe, "connect"}}, nil)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, c.Close())
		n.within("the unit is gone", func() bool { return len(n.instances()) == 0 })
	}()
	if err := raised(c.Hello().GuardPID); err != nil {
		return err
	}
	for _, s := range []inject.Spec{
		{Kind: "pause", Params: fmt.Appendf(nil, `{"pid":%d}`, v.process)},
		{Kind: "pause", Params: fmt.Appendf(nil, `{"pid":%d,"method":"ptrace"}`, v.process)},
		{Kind: "pause", Params: fmt.Appendf(nil, `{"target":{"unit":%q},"method":"freezer"}`, v.unit)},
		{Kind: "partition", Params: fmt.Appendf(nil, `{"peers":["10.99.0.2"],"netns":%q}`, v.netns)},
	} {
		s.For = time.Hour
		f, err := c.Inject(ctx, s)
		if err != nil {
			return err
		}
		if err := locked(c.Hello().GuardPID); err != nil {
			return err
		}
		if _, err := c.Revert(ctx, f.ID); err != nil {
			return err
		}
	}
	p, err := c.Start(ctx, agent.ProcSpec{Name: "a", Argv: []string{v.closed, "1000"}})
	if err != nil {
		return err
	}
	return p.Kill(ctx)
}

// raised says that every thread of the guard comes before ordinary work.
func raised(guard int) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", guard))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("the guard's threads: %v, %w", threads, err)
	}
	for _, th := range threads {
		tid, err := strconv.Atoi(th.Name())
		if err != nil {
			return err
		}
		// The system call answers 20 minus the nice value.
		if now, err := unix.Getpriority(unix.PRIO_PROCESS, tid); now != 40 && err != unix.ESRCH {
			return fmt.Errorf("the nice value of the guard's thread %d is %d, %v", tid, 20-now, err)
		}
	}
	return nil
}

// locked says that the guard, with a fault in effect, is locked in memory.
func locked(guard int) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", guard))
	if err != nil || strings.Contains(string(b), "VmLck:\t       0 kB") {
		return fmt.Errorf("the guard has locked no memory: %v\n%s", err, b)
	}
	return nil
}

// TestUnitCrash: with the capabilities of the unit a server is started again as it was, or it is
// not killed.
func TestUnitCrash(t *testing.T) {
	exe := program(t)
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		n := newMachine(t, m, exe)
		c := n.dial()
		spec := func(pid int) inject.Spec {
			n.within("it shows its command line", func() bool { // a started program may not have come so far
				line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				return err == nil && string(line) == "sleep\x001000\x00"
			})
			return inject.Spec{Kind: "crash", For: time.Minute, Patience: 20 * time.Second, Params: fmt.Appendf(nil, `{"target":{"pid":%d}}`, pid)}
		}
		root := exec.Command("sleep", "1000")
		if err := root.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = root.Process.Kill(), root.Wait() })
		if p, err := c.Prepare(ctx60(t), spec(root.Process.Pid)); !errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), "which this agent cannot give it again") {
			t.Errorf("a server with all capabilities: %q, %v", p.Objects, err)
		}
		f, err := c.Inject(ctx60(t), spec(victim(t)))
		if err != nil || !strings.Contains(f.Effect.Seen, "it runs as process") {
			t.Fatalf("a server without any: %+v, %v", f, err)
		}
		if _, err := c.Revert(ctx60(t), f.ID); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}
