package pause_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/pause"
)

// TestConformanceStutter: with a period so long that the suite sees the first stop.
func TestConformanceStutter(t *testing.T) {
	conform(t, tree(`{"pid":%d,"period":60000000000,"duty":0.9}`), true)
}

// TestStutter: the target is stopped again and again, by every method, with the
// children that it has started meanwhile, and runs in between.
func TestStutter(t *testing.T) {
	for _, method := range []string{pause.MethodSIGSTOP, pause.MethodPtrace, pause.MethodFreezer} {
		t.Run(method, func(t *testing.T) {
			pid, still, count := startForker(t, method)
			f := pause.New()
			p, err := f.Prepare(context30(t), stutterSpec(pid, method, 40*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			p.ID = "a"
			e, err := f.Inject(context30(t), p)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(e.Seen, "for 20ms of every 40ms") {
				t.Errorf("seen: %s", e.Seen)
			}
			for range 3 {
				await(t, func() bool { return !still() })
				was := count()
				await(t, func() bool { return count() > was }) // it forks
				await(t, still)
			}
			e, err = f.Revert(context30(t), p)
			var stops int
			if _, scan := fmt.Sscanf(e.Seen, "stopped %d times;", &stops); err != nil || scan != nil || stops < 3 {
				t.Errorf("seen: %+v, %v", e, err)
			}
			was := count()
			await(t, func() bool { return count() > was+3 })
		})
	}
}

func stutterSpec(pid int, method string, period time.Duration) inject.Spec {
	return inject.Spec{Kind: pause.Kind, For: time.Minute, Params: fmt.Appendf(nil, `{"pid":%d,"method":%q,"period":%d,"duty":0.5}`, pid, method, period)}
}

// startForker starts a process that forks all the time, in a cgroup of its own if
// the method needs one, and returns how to see that it is stopped and to count the
// forks.
func startForker(t *testing.T, method string) (pid int, still func() bool, count func() int) {
	t.Helper()
	still = func() bool { s, _ := inject.ReadStat(pid); return s.Stopped() }
	attr := &syscall.SysProcAttr{Setpgid: true}
	if method == pause.MethodFreezer {
		group, _, _ := startContainer(t)
		still = func() bool { return strings.Contains(groupState(group), "frozen=true") }
		dir, err := os.Open(group)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
	}
	cmd := exec.Command("sh", "-c", `while :; do sh -c ":"; echo; done`)
	cmd.SysProcAttr = attr
	var n counter
	cmd.Stdout = &n
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killAll(cmd, []int{cmd.Process.Pid}) })
	pid = cmd.Process.Pid
	return pid, still, n.lines
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += len(b)
	return len(b), nil
}

func (c *counter) lines() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestStutterEndsWhileTheTargetRuns: nothing is stopped at that moment, and yet
// "reverted" is said only after every process has been looked at.
func TestStutterEndsWhileTheTargetRuns(t *testing.T) {
	for _, method := range []string{pause.MethodSIGSTOP, pause.MethodPtrace} {
		t.Run(method, func(t *testing.T) {
			_, pids := startTree(t)
			f := pause.New()
			p, err := f.Prepare(context30(t), inject.Spec{Kind: pause.Kind, For: time.Minute,
				Params: fmt.Appendf(nil, `{"pid":%d,"method":%q,"period":50000000000,"duty":0.001}`, pids[0], method)})
			if err != nil {
				t.Fatal(err)
			}
			p.ID = "a"
			if _, err := f.Inject(context30(t), p); err != nil {
				t.Fatal(err)
			}
			await(t, func() bool { return !anyStopped(pids) })
			want := fmt.Sprintf("%d of %d processes run", len(pids), len(pids))
			if e, err := f.Revert(context30(t), p); err != nil || e.Count != len(pids) || !strings.Contains(e.Seen, want) {
				t.Errorf("revert: %+v, %v; want %s", e, err, want)
			}
		})
	}
}

func anyStopped(pids []int) bool {
	for _, pid := range pids {
		if s, _ := inject.ReadStat(pid); s.Stopped() {
			return true
		}
	}
	return false
}

// TestStutterTargetGone: it ends by itself, and says so.
func TestStutterTargetGone(t *testing.T) {
	root, pids := startTree(t)
	f := pause.New()
	p, err := f.Prepare(context30(t), stutterSpec(pids[0], pause.MethodSIGSTOP, 20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "a"
	if _, err := f.Inject(context30(t), p); err != nil {
		t.Fatal(err)
	}
	killAll(root, pids)
	if e, err := f.Revert(context30(t), p); err != nil || e.Count != 0 {
		t.Errorf("revert: %+v, %v", e, err)
	}
}

// TestStutterLeavesOthersStopped: what somebody else stops while the target may
// run stays stopped.
func TestStutterLeavesOthersStopped(t *testing.T) {
	_, pids := startTree(t)
	f := pause.New()
	p, err := f.Prepare(context30(t), inject.Spec{Kind: pause.Kind, For: time.Minute,
		Params: fmt.Appendf(nil, `{"pid":%d,"period":1000000000,"duty":0.1}`, pids[0])})
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "a"
	if _, err := f.Inject(context30(t), p); err != nil {
		t.Fatal(err)
	}
	stopped := func() bool { s, _ := inject.ReadStat(pids[1]); return s.Stopped() }
	// Well within the 900 ms in which it may run, or it could not be told apart.
	for {
		await(t, stopped)
		var last time.Time
		await(t, func() bool {
			now := time.Now()
			if stopped() {
				last = now
				return false
			}
			return true
		})
		// Not while the stutter still looks whether all of them run.
		await(t, func() bool { return time.Since(last) > 100*time.Millisecond })
		if err := syscall.Kill(pids[1], syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		await(t, stopped)
		if time.Since(last) < 500*time.Millisecond {
			break
		}
		if err := syscall.Kill(pids[1], syscall.SIGCONT); err != nil { // this machine was slow
			t.Fatal(err)
		}
	}
	await(t, func() bool { s, _ := inject.ReadStat(pids[0]); return s.Stopped() })
	await(t, func() bool { s, _ := inject.ReadStat(pids[0]); return !s.Stopped() })
	if s, _ := inject.ReadStat(pids[1]); !s.Stopped() {
		t.Error("the stutter has resumed what others have stopped")
	}
	if e, err := f.Revert(context30(t), p); err != nil || !strings.Contains(e.Seen, "1 stopped by somebody else and left so") {
		t.Errorf("revert: %+v, %v", e, err)
	}
	if s, _ := inject.ReadStat(pids[1]); !s.Stopped() {
		t.Error("the revert has resumed what others have stopped")
	}
}

func TestParams(t *testing.T) {
	_, pids := startTree(t)
	for words, params := range map[string]string{
		"no other target is named":           `{}`,
		"both pid and target":                `{"pid":%d,"target":{"name":"x"}}`,
		"not sigstop, ptrace or freezer":     `{"pid":%d,"method":"sigkill"}`,
		"the freezer takes in the whole":     `{"pid":%d,"method":"freezer","tree":false}`,
		"a stutter needs both":               `{"pid":%d,"duty":0.5}`,
		"duty is 0, not a share":             `{"pid":%d,"period":100000000}`,
		"duty is 1, not a share":             `{"pid":%d,"period":100000000,"duty":1}`,
		"duty is -1, not a share":            `{"pid":%d,"period":100000000,"duty":-1}`,
		"neither part may be shorter":        `{"pid":%d,"period":1000000,"duty":0.5}`,
		"a period of 2m0s in a fault of 1m0": `{"pid":%d,"period":120000000000,"duty":0.5}`,
		"unit is \"../x\"":                   `{"target":{"unit":"../x"}}`,
	} {
		sp := spec(pids[0])
		sp.Params = json.RawMessage(strings.ReplaceAll(params, "%d", fmt.Sprint(pids[0])))
		if _, err := pause.New().Prepare(context30(t), sp); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", sp.Params, err, words)
		}
	}
}
