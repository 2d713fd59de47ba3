package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lockaudit/lockaudit/inject/target"
)

// groupOf is the directory of a process's control group (v2).
func groupOf(t *testing.T, pid int) string {
	t.Helper()
	m, err := target.CgroupMount()
	if err != nil {
		t.Fatalf("this test needs cgroup v2: %v", err)
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			dir, err := m.Path(path)
			if err != nil {
				t.Fatal(err)
			}
			return dir
		}
	}
	t.Fatalf("process %d is in no group", pid)
	return ""
}

func removed(dir string) func() bool {
	return func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) }
}

// TestClientGroup: each client is alone with its children in a control group below
// the agent's, which goes with it.
func TestClientGroup(t *testing.T) {
	c := dial(t, testCommand(t, stateDir(t)))
	own := groupOf(t, c.Hello().PID)
	p, q := start(t, c, "a", "sleep", "1000"), start(t, c, "b", "sh", "-c", "sleep 1000 & wait")
	for _, x := range []*Proc{p, q} {
		dir := groupOf(t, x.PID)
		if filepath.Dir(dir) != own || !strings.HasPrefix(filepath.Base(dir), groupPrefix) {
			t.Errorf("client %s is in %s, its agent in %s", x.Name, dir, own)
		}
	}
	first, second := groupOf(t, p.PID), groupOf(t, q.PID)
	if first == second {
		t.Errorf("both clients are in %s", first)
	}
	if err := p.Kill(testCtx(t)); err != nil {
		t.Fatal(err)
	}
	within(t, "the group is gone", removed(first))
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	within(t, "the group is gone", removed(second))
}

// TestClientGroupSwept: what a killed agent leaves is removed, by its guard or at the
// next start, and nothing that is not ours.
func TestClientGroupSwept(t *testing.T) {
	for _, guardToo := range []bool{false, true} {
		dir := stateDir(t)
		c := dial(t, testCommand(t, dir))
		group := groupOf(t, start(t, c, "a", "sleep", "1000").PID)
		foreign, err := os.MkdirTemp(filepath.Dir(group), "lockaudit-test-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(foreign)
		if err := os.WriteFile(filepath.Join(dir, "groups", "0123456789ab"), []byte(foreign), 0o600); err != nil {
			t.Fatal(err)
		}
		if guardToo {
			_ = syscall.Kill(c.Hello().GuardPID, syscall.SIGKILL)
		}
		_ = syscall.Kill(c.Hello().PID, syscall.SIGKILL)
		_ = c.Close() // its error is that we killed it
		if guardToo {
			within(t, "a start removes the group", func() bool {
				c := dial(t, testCommand(t, dir))
				_ = c.Close()
				return removed(group)()
			})
		}
		within(t, "the group is gone", removed(group))
		if removed(foreign)() {
			t.Error("a group that is not ours was removed")
		}
	}
}
