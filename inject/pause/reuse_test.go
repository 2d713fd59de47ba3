package pause_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/pause"
)

// TestRealReuse has the kernel give the pid of a paused process to another one, in a
// pid namespace of the test's own, where somebody else has stopped that. Neither who
// holds the fault, nor who has only its plan, nor the kernel when the holder dies may
// resume it.
func TestRealReuse(t *testing.T) {
	const inside = "PAUSE_TEST_REUSE"
	if os.Getenv(inside) == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", exe, "-test.run=^TestRealReuse$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestRealReuse") {
			t.Fatalf("inside: %v\n%s", err, out)
		}
		return
	}
	if pid, err := strconv.Atoi(os.Getenv(inside)); err == nil && pid > 1 {
		holdUntilKilled(t, pid)
	}
	f := pause.New()
	victim, end := sleeper(t)
	holder := startHolder(t, inside, victim) // which the kernel would resume in the name of
	await(t, func() bool { s, _ := inject.ReadStat(victim); return s.Stopped() })
	orphan := victim
	orphanWas, err := inject.ReadStat(orphan)
	if err != nil {
		t.Fatal(err)
	}
	end()
	heir := stopTheHeir(t, orphan, orphanWas.StartTime)
	_, _ = holder.Process.Kill(), holder.Wait()
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) { // many times what it takes
		if s, err := inject.ReadStat(heir); err != nil || !s.Stopped() {
			t.Fatalf("the kernel resumed the process that has the pid now: %+v, %v", s, err)
		}
	}

	victim, end = sleeper(t)
	p, err := f.Prepare(context30(t), spec(victim))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "a"
	if _, err := f.Inject(context30(t), p); err != nil {
		t.Fatal(err)
	}
	was, err := inject.ReadStat(victim)
	if err != nil {
		t.Fatal(err)
	}
	end()
	heir = stopTheHeir(t, victim, was.StartTime)
	for name, revert := range map[string]inject.Fault{"who has only the plan": pause.New(), "the holder": f} {
		if e, err := revert.Revert(context30(t), p); err != nil || e.Count != 0 {
			t.Errorf("revert by %s: %+v, %v", name, e, err)
		}
		if s, err := inject.ReadStat(heir); err != nil || !s.Stopped() {
			t.Errorf("%s resumed the process that has the pid now: %+v, %v", name, s, err)
		}
	}
	if _, err := pause.New().Inject(context30(t), p); err == nil {
		t.Error("the plan was injected into the process that has the pid now")
	}
}

// startHolder has another process pause the target.
func startHolder(t *testing.T, env string, pid int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestRealReuse$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", env, pid))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

func holdUntilKilled(t *testing.T, pid int) {
	f := pause.New()
	p, err := f.Prepare(context30(t), spec(pid))
	if err == nil {
		_, err = f.Inject(context30(t), p)
	}
	if err != nil {
		t.Fatal(err)
	}
	select {}
}

// stopTheHeir gives the pid to another process, which somebody else then stops.
func stopTheHeir(t *testing.T, pid int, after uint64) int {
	t.Helper()
	heir := reuse(t, pid, after)
	if err := syscall.Kill(heir, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { s, _ := inject.ReadStat(heir); return s.Stopped() })
	return heir
}

// sleeper is a process, and a function that ends and reaps it.
func sleeper(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { _, _ = cmd.Process.Kill(), cmd.Wait() }
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

// reuse starts a process with the given pid, in a later clock tick than its last owner:
// pids come in order, and what the next one follows can be set.
func reuse(t *testing.T, pid int, after uint64) int {
	t.Helper()
	for range 1000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Fatal(err)
		}
		got, end := sleeper(t)
		s, err := inject.ReadStat(got)
		if err != nil {
			t.Fatal(err)
		}
		if got == pid && s.StartTime > after {
			return got
		}
		end()
	}
	t.Fatalf("nobody got the pid %d", pid)
	return 0
}
