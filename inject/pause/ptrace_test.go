package pause_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/pause"

	"golang.org/x/sys/unix"
)

func TestConformancePtrace(t *testing.T) { conform(t, tree(`{"pid":%d,"method":"ptrace"}`), true) }

func ptraceSpec(pid int) inject.Spec {
	return inject.Spec{Kind: pause.Kind, For: time.Minute, Params: fmt.Appendf(nil, `{"pid":%d,"method":"ptrace"}`, pid)}
}

// threadsRole has a copy of the test binary be a process that starts threads all
// the time, each of which ends soon.
const threadsRole = "PAUSE_TEST_THREADS"

func manyThreads() {
	fmt.Println("ready")
	for {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with it
			ts := unix.NsecToTimespec(int64(time.Millisecond))
			_ = unix.Nanosleep(&ts, nil)
			close(done)
		}()
		<-done
	}
}

func startThreads(t *testing.T) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), threadsRole+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killAll(cmd, []int{cmd.Process.Pid}) })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

// TestPtraceThreads: of a process that starts threads all the time, all stop, and
// none that starts in that moment gets away.
func TestPtraceThreads(t *testing.T) {
	cmd, f := startThreads(t), pause.New()
	for i := range 20 {
		p, err := f.Prepare(context30(t), ptraceSpec(cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		p.ID = fmt.Sprint(i)
		e, err := f.Inject(context30(t), p)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(e.Seen, "1 of 1 processes in state t by ptrace") {
			t.Errorf("seen: %s", e.Seen)
		}
		before := taskStates(t, cmd.Process.Pid)
		for range 10 {
			syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
			if now := taskStates(t, cmd.Process.Pid); now != before || strings.ContainsAny(now, "RSD") {
				t.Fatalf("threads were %s and are %s", before, now)
			}
		}
		if _, err := f.Revert(context30(t), p); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { return taskStates(t, cmd.Process.Pid) != before })
	}
}

// taskStates shows the threads with their states.
func taskStates(t *testing.T, pid int) string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, task := range tasks {
		if s, err := inject.ReadStatFile(dir + "/" + task.Name() + "/stat"); err == nil {
			out += task.Name() + string(s.State) + " "
		}
	}
	return out
}

// TestRefusesTraced: what a debugger has is left to it, and named.
func TestRefusesTraced(t *testing.T) {
	_, pids := startTree(t)
	runtime.LockOSThread() // the debugger is this thread
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(pids[2]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.PtraceInterrupt(pids[2])
		_, _ = unix.Wait4(pids[2], nil, unix.WALL, nil)
		_ = unix.PtraceDetach(pids[2])
	}()
	_, err := pause.New().Prepare(context30(t), ptraceSpec(pids[0]))
	if !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), fmt.Sprintf("process %d is traced already, by process", pids[2])) {
		t.Errorf("prepare: %v, want %v", err, inject.ErrRefused)
	}
	if _, err := pause.New().Prepare(context30(t), ptraceSpec(pids[1])); err != nil {
		t.Errorf("prepare of another: %v", err)
	}
}

// TestPtraceKilledTarget: when a target is killed while it is held, its own parent
// hears of it, and not only after the fault.
func TestPtraceKilledTarget(t *testing.T) {
	cmd := exec.Command("sh", "-c", `sleep 1000 & echo $!; wait $!; echo $?; sleep 1000`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killAll(cmd, []int{cmd.Process.Pid}) })
	var child, status int
	if _, err := fmt.Fscanln(out, &child); err != nil {
		t.Fatal(err)
	}
	f := pause.New()
	p, err := f.Prepare(context30(t), ptraceSpec(child))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "a"
	if _, err := f.Inject(context30(t), p); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// If the parent is not told, the end of the fault tells it.
	late := time.AfterFunc(hang, func() { _, _ = f.Revert(context.Background(), p) })
	if _, err := fmt.Fscanln(out, &status); err != nil || status != 128+9 || !late.Stop() {
		t.Errorf("the parent saw the status %d, %v, or only after the fault", status, err)
	}
	if _, err := f.Revert(context30(t), p); err != nil {
		t.Error(err)
	}
}
