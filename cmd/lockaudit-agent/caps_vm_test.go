//go:build vm

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/lab/vm"

	"golang.org/x/sys/unix"
)

var hourAhead = inject.Spec{Kind: "clock-node", For: 10 * time.Minute, Params: []byte(clockStep)}

var capability = map[string]uintptr{
	"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_KILL": unix.CAP_KILL,
	"CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_SYS_NICE": unix.CAP_SYS_NICE,
	"CAP_SYS_RESOURCE": unix.CAP_SYS_RESOURCE, "CAP_IPC_LOCK": unix.CAP_IPC_LOCK, "CAP_SETUID": unix.CAP_SETUID,
	"CAP_SETGID": unix.CAP_SETGID, "CAP_SETPCAP": unix.CAP_SETPCAP, "CAP_SYS_TIME": unix.CAP_SYS_TIME,
}

// TestVMCapabilities: what a container's root may not do, with the capabilities of the units and
// with one less.
func TestVMCapabilities(t *testing.T) {
	m := vm.Machine{}
	if !vm.Inside() {
		m.Programs = map[string]string{"/bin/lockaudit-agent": build(t)}
		for _, name := range []string{serviceUnit, healUnit} {
			m.Programs["/units/"+name] = "../../deploy/systemd/" + name
		}
	}
	vm.Suite(t, m, []vm.Case{
		{Name: "limits of a server", Test: limitsOfServer},
		{Name: "clock of the node", Test: clockOfNode},
		{Name: "heal of the clock", Test: healOfClock},
	})
}

// of are the capabilities of a unit.
func of(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile("/units/" + name)
	if err != nil {
		t.Fatal(err)
	}
	_, words := capabilities(t, string(b))
	return words
}

func without(words []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == word })
}

// with runs f on a thread of its own, whose children have no more than these capabilities.
func with(t *testing.T, words []string, f func() error) error {
	t.Helper()
	for _, w := range words {
		if _, known := capability[w]; !known {
			t.Fatalf("%s is not known here", w)
		}
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with its restrictions
		for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
			if slices.ContainsFunc(words, func(w string) bool { return capability[w] == c }) {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
				result <- err
				return
			}
		}
		result <- f()
	}()
	return <-result
}

func dialHere(ctx context.Context, args ...string) (*agent.Conn, error) {
	return agent.Dial(ctx, agent.Command{Argv: append([]string{"/bin/lockaudit-agent"}, args...)}, nil)
}

func limitsOfServer(t *testing.T) {
	whole := of(t, serviceUnit)
	if err := with(t, whole, crashKeepsLimits(t)); err != nil {
		t.Errorf("with %v: %v", whole, err)
	}
	if err := with(t, without(whole, "CAP_SYS_RESOURCE"), crashKeepsLimits(t)); err == nil || !strings.Contains(err.Error(), "started again with") {
		t.Errorf("without CAP_SYS_RESOURCE: %v", err)
	}
}

// crashKeepsLimits has a server killed and started again whose hard limit and OOM score are out
// of the ordinary.
func crashKeepsLimits(t *testing.T) func() error {
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	pid := cmd.Process.Pid
	limit := unix.Rlimit{Cur: 1 << 21, Max: 1 << 21} // bytes in message queues; 819200 for everybody else
	err := errors.Join(unix.Prlimit(pid, unix.RLIMIT_MSGQUEUE, &limit, nil), os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("-950"), 0))
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c, err := dialHere(ctx)
		if err != nil {
			return err
		}
		f, err := c.Inject(ctx, inject.Spec{Kind: "crash", For: time.Minute, Patience: 20 * time.Second, Params: fmt.Appendf(nil, `{"target":{"pid":%d}}`, pid)})
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
		_, seen, _ := strings.Cut(f.Effect.Seen, "it runs as process ")
		now := 0
		if _, err := fmt.Sscan(strings.TrimRight(strings.Fields(seen + " .")[0], ","), &now); err != nil {
			return fmt.Errorf("%q: %w", f.Effect.Seen, err)
		}
		defer func() { _ = unix.Kill(now, unix.SIGKILL) }()
		var is unix.Rlimit
		if err := unix.Prlimit(now, unix.RLIMIT_MSGQUEUE, nil, &is); err != nil {
			return err
		}
		oom, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", now))
		if is != limit || strings.TrimSpace(string(oom)) != "-950" {
			return fmt.Errorf("started again with the limit %v, want %v, and the OOM score %s, want -950; %v", is, limit, oom, err)
		}
		return nil
	}
}

func clockOfNode(t *testing.T) {
	before := wall(t)
	step := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c, err := dialHere(ctx, "--allow-node-clock")
		if err != nil {
			return err
		}
		if _, err = c.Inject(ctx, hourAhead); err == nil && wall(t)-before < time.Hour/2 {
			err = errors.New("the clock is as it was")
		}
		return errors.Join(err, c.Close())
	}
	whole := of(t, serviceUnit)
	if err := with(t, append(slices.Clone(whole), "CAP_SYS_TIME"), step); err != nil {
		t.Errorf("with the drop-in: %v", err)
	}
	if d := wall(t) - before; d.Abs() > 10*time.Millisecond {
		t.Errorf("the clock is %v off", d)
	}
	if err := with(t, whole, step); !errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), "CAP_SYS_TIME") {
		t.Errorf("with the unit alone: %v", err)
	}
}

func healOfClock(t *testing.T) {
	before := wall(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := dialHere(ctx, "--allow-node-clock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Inject(ctx, hourAhead); err != nil {
		t.Fatal(err)
	}
	endings()["both killed"].by(t, c)
	whole := of(t, healUnit)
	heal := func() error {
		if out, status := runIt(t, "/bin/lockaudit-agent", "/run/lockaudit-agent", "heal"); status != 0 {
			return fmt.Errorf("status %d: %s", status, out)
		}
		return nil
	}
	if err := with(t, without(whole, "CAP_SYS_TIME"), heal); err == nil || !strings.Contains(err.Error(), "status 4") {
		t.Errorf("heal without CAP_SYS_TIME: %v", err)
	}
	if err := with(t, whole, heal); err != nil {
		t.Errorf("heal with %v: %v", whole, err)
	}
	if d := wall(t) - before; d.Abs() > 10*time.Millisecond {
		t.Errorf("the clock is %v off", d)
	}
}
