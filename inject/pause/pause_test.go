package pause_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/pause"
)

func TestMain(m *testing.M) {
	if os.Getenv(threadsRole) != "" {
		manyThreads()
	}
	injecttest.Main(m, func() inject.Fault { return pause.New() })
}

func TestConformance(t *testing.T) { conform(t, tree(`{"pid":%d}`), true) }

// conform runs the suite for one method.
func conform(t *testing.T, target func(*testing.T) injecttest.Target, kernelUndoes bool) {
	injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return pause.New() }, Target: target, KernelUndoes: kernelUndoes})
}

// tree is a process with two children, of which one has a child.
func tree(params string) func(*testing.T) injecttest.Target {
	return func(t *testing.T) injecttest.Target {
		root, pids := startTree(t)
		return injecttest.Target{
			Params:   json.RawMessage(fmt.Sprintf(params, root.Process.Pid)),
			Snapshot: func() string { return states(pids) },
			Remove: func() {
				killAll(root, pids)
			},
		}
	}
}

func startTree(t *testing.T) (*exec.Cmd, []int) {
	t.Helper()
	return startTreeWith(t, &syscall.SysProcAttr{Setpgid: true})
}

func startTreeWith(t *testing.T, attr *syscall.SysProcAttr) (*exec.Cmd, []int) {
	t.Helper()
	script := `sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!; wait' & echo $!; wait`
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := []int{cmd.Process.Pid}
	t.Cleanup(func() { killAll(cmd, pids) })
	r := bufio.NewReader(out)
	for range 3 {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	await(t, func() bool { // forked is not yet executed
		asleep := 0
		for _, pid := range pids {
			if s, err := inject.ReadStat(pid); err == nil && s.Comm == "sleep" {
				asleep++
			}
		}
		return asleep == 2
	})
	return cmd, pids
}

// killAll ends the group and returns when each process is gone or a zombie.
func killAll(cmd *exec.Cmd, pids []int) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(time.Millisecond) {
		alive := false
		for _, pid := range pids {
			s, err := inject.ReadStat(pid)
			alive = alive || err == nil && !s.Dead()
		}
		if !alive {
			return
		}
	}
}

func params(pid int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"pid":%d}`, pid)) }

// states shows for each process whether it is stopped.
func states(pids []int) string {
	var b strings.Builder
	for _, pid := range pids {
		s, err := inject.ReadStat(pid)
		fmt.Fprintf(&b, "%d there=%v stopped=%v\n", pid, err == nil && !s.Dead(), s.Stopped())
	}
	return b.String()
}

func spec(pid int) inject.Spec {
	return inject.Spec{Kind: pause.Kind, For: time.Minute, Params: params(pid)}
}

// hang is after what something that was waited for does not happen any more.
const hang = 2 * time.Minute

func context30(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

func TestRefusesProtected(t *testing.T) {
	f := pause.New()
	for name, pid := range map[string]int{"init": 1, "kernel thread": 2, "itself": os.Getpid(), "its parent": os.Getppid()} {
		if pid == 2 {
			if s, err := inject.ReadStat(2); err != nil || !s.Kernel() {
				continue // a pid namespace without kernel threads
			}
		}
		if _, err := f.Prepare(context30(t), spec(pid)); !errors.Is(err, inject.ErrRefused) {
			t.Errorf("prepare of %s: %v, want %v", name, err, inject.ErrRefused)
		}
	}
}

// TestRefusesNames starts an ordinary program under names that are protected.
func TestRefusesNames(t *testing.T) {
	for _, name := range []string{"sshd", "sshd-session", "containerd-shim", "dockerd", "kubelet", "systemd-journal", "lockaudit-guard"} {
		path := t.TempDir() + "/" + name
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
		executed(t, cmd.Process.Pid, name)
		_, err = pause.New().Prepare(context30(t), spec(cmd.Process.Pid))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if !errors.Is(err, inject.ErrRefused) {
			t.Errorf("prepare of %s: %v, want %v", name, err, inject.ErrRefused)
		}
	}
}

// executed waits until a process has its name: Start returns a moment before.
func executed(t *testing.T, pid int, name string) {
	t.Helper()
	await(t, func() bool { s, err := inject.ReadStat(pid); return err == nil && s.Comm == name[:min(len(name), 15)] })
}

func TestRefusesStoppedAlready(t *testing.T) {
	_, pids := startTree(t)
	f := pause.New()
	child := pids[1]
	p, err := f.Prepare(context30(t), spec(pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "a"
	if err := syscall.Kill(child, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { s, _ := inject.ReadStat(child); return s.Stopped() })
	if _, err := f.Prepare(context30(t), spec(pids[0])); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("prepare: %v, want %v", err, inject.ErrRefused)
	}
	// Stopped between Prepare and Inject: what others stopped stays stopped.
	if _, err := f.Inject(context30(t), p); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("inject: %v, want %v", err, inject.ErrRefused)
	}
	if _, err := f.Revert(context30(t), p); err != nil {
		t.Errorf("revert: %v", err)
	}
	for _, pid := range pids {
		if s, _ := inject.ReadStat(pid); s.Stopped() != (pid == child) {
			t.Errorf("after revert process %d is %c", pid, s.State)
		}
	}
}

func TestReusedPid(t *testing.T) {
	_, pids := startTree(t)
	s, err := inject.ReadStat(pids[0])
	if err != nil {
		t.Fatal(err)
	}
	f := pause.New()
	sp := spec(pids[0])
	sp.Params = json.RawMessage(fmt.Sprintf(`{"pid":%d,"start_time":%d}`, pids[0], s.StartTime-1))
	if _, err := f.Prepare(context30(t), sp); !errors.Is(err, inject.ErrGone) {
		t.Errorf("prepare with another start time: %v, want %v", err, inject.ErrGone)
	}
	// A plan whose processes are gone, and whose pids mean others now, stopped by
	// somebody else.
	p, err := f.Prepare(context30(t), spec(pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "a"
	var undo map[string]any
	if err := json.Unmarshal(p.Undo, &undo); err != nil {
		t.Fatal(err)
	}
	for _, m := range undo["processes"].([]any) {
		m.(map[string]any)["start_time"] = m.(map[string]any)["start_time"].(float64) - 1
	}
	if p.Undo, err = json.Marshal(undo); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { s, _ := inject.ReadStat(pids[0]); return s.Stopped() })
	if _, err := f.Revert(context30(t), p); err != nil {
		t.Errorf("revert: %v", err)
	}
	if s, _ := inject.ReadStat(pids[0]); !s.Stopped() {
		t.Error("revert resumed a process that has only the pid of the plan's")
	}
	if _, err := f.Inject(context30(t), p); !errors.Is(err, inject.ErrGone) {
		t.Errorf("inject: %v, want %v", err, inject.ErrGone)
	}
}

// TestForkingTree stops a tree that forks all the time; nothing may slip through.
func TestForkingTree(t *testing.T) {
	cmd := exec.Command("sh", "-c", `while :; do sleep 1000 & sleep 0.005; done`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killAll(cmd, []int{cmd.Process.Pid}) })
	f := pause.New()
	for i := range 5 {
		p, err := f.Prepare(context30(t), spec(cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		p.ID = strconv.Itoa(i)
		// Several more are forked in between; the plan does not name them.
		had := group(t, cmd.Process.Pid)
		await(t, func() bool { return len(group(t, cmd.Process.Pid)) > len(had)+2 })
		if _, err := f.Inject(context30(t), p); err != nil {
			t.Fatal(err)
		}
		for _, pid := range group(t, cmd.Process.Pid) {
			if s, err := inject.ReadStat(pid); err == nil && !s.Stopped() && !s.Dead() {
				t.Errorf("process %d of the tree is %c", pid, s.State)
			}
		}
		healer := f
		if i%2 == 1 {
			healer = pause.New() // knows only the plan
		}
		if _, err := healer.Revert(context30(t), p); err != nil {
			t.Fatal(err)
		}
		for _, pid := range group(t, cmd.Process.Pid) {
			if s, err := inject.ReadStat(pid); err == nil && s.Stopped() {
				t.Errorf("process %d of the tree is still stopped", pid)
			}
		}
		if _, err := f.Revert(context30(t), p); err != nil {
			t.Fatal(err)
		}
	}
}

// group lists the processes of a process group.
func group(t *testing.T, pgid int) []int {
	t.Helper()
	files, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, f := range files {
		if pid, err := strconv.Atoi(f.Name()); err == nil {
			if s, err := inject.ReadStat(pid); err == nil && s.PGID == pgid {
				out = append(out, pid)
			}
		}
	}
	return out
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("what was waited for did not happen within %v", hang)
		}
	}
}
