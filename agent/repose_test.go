package agent

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// codeIn is how much code a process's program has, in KiB, how much of it is in memory, and
// whether it is locked there.
func codeIn(t *testing.T, pid int) (resident, size int, locked bool) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	in := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if strings.Contains(f[0], "-") {
			in = len(f) > 5 && f[1] == "r-xp" && f[5] == exe
		}
		for name, n := range map[string]*int{"Rss:": &resident, "Size:": &size} {
			if in && f[0] == name {
				kib := 0
				_, _ = fmt.Sscan(f[1], &kib)
				*n += kib
			}
		}
		if in && f[0] == "VmFlags:" {
			locked = slices.Contains(f, "lo")
		}
	}
	if size == 0 {
		t.Fatalf("no code of %s in the mappings of %d", exe, pid)
	}
	return resident, size, locked
}

// TestLockedWhileInEffect: a guard has all of its code in memory, for good, as long as it has
// something to revert, also if that begins when it has rested; and no longer. Without the
// permission nothing is locked, and that is no failure.
func TestLockedWhileInEffect(t *testing.T) {
	t.Parallel()
	cmd := testCommand(t, stateDir(t))
	cmd.Env = append(cmd.Env, testCalm+"=50ms")
	c := dial(t, cmd)
	guard := c.Hello().GuardPID
	for range 3 {
		f := mustInject(t, c, victim(t), time.Hour)
		if resident, size, locked := codeIn(t, guard); locked != mayLock() || locked && resident != size {
			t.Errorf("with a fault in effect, %d of %d KiB of code are in memory, locked there: %v", resident, size, locked)
		}
		if _, err := c.Revert(testCtx(t), f.ID); err != nil {
			t.Fatal(err)
		}
		within(t, "nothing is locked", func() bool {
			_, _, locked := codeIn(t, guard)
			return !locked
		})
	}
}

// TestNoRestInEffect: what was asked for while nothing was in effect comes when something is.
func TestNoRestInEffect(t *testing.T) {
	idle := true
	r := newRepose(time.Hour, func() bool { return idle })
	defer r.close()
	locked := func() bool {
		_, _, locked := codeIn(t, os.Getpid())
		return locked
	}
	idle = false
	r.lock()
	if r.rest(); locked() != mayLock() {
		t.Error("it is not locked, with something in effect")
	}
	idle = true
	if r.rest(); locked() {
		t.Error("it is locked, with nothing in effect")
	}
	idle = false
	if r.lock(); locked() != mayLock() {
		t.Error("it is not locked again")
	}
	idle = true
	r.rest()
}
