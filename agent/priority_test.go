package agent

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// niceOf is a thread's nice value; the system call answers 20 minus that. ok is false of a
// thread that is gone.
func niceOf(t *testing.T, tid int) (nice int, ok bool) {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil && err != unix.ESRCH {
		t.Fatal(err)
	}
	return 20 - n, err == nil
}

// mayRaise tries, on a thread that ends with it.
func mayRaise() bool {
	may := make(chan bool)
	go func() {
		runtime.LockOSThread() // never unlocked
		may <- unix.Setpriority(unix.PRIO_PROCESS, 0, -20) == nil
	}()
	return <-may
}

// TestGuardComesFirst: each thread of a guard comes before ordinary work, where that is
// permitted, and what a hook starts does not.
func TestGuardComesFirst(t *testing.T) {
	t.Parallel()
	own, _ := niceOf(t, os.Getpid())
	guard, command := own, own
	if mayRaise() {
		guard, command = -20, 0
	}
	c := dial(t, testCommand(t, stateDir(t)))
	f, err := c.Inject(testCtx(t), inject.Spec{Kind: "hook", For: time.Minute, Patience: 5 * time.Second,
		Params: []byte(`{"inject":["nice"],"revert":["true"]}`)})
	if want := fmt.Sprintf("inject command: exit status 0, output %q", strconv.Itoa(command)); err != nil || f.Effect.Seen != want {
		t.Errorf("a hook's command that prints its nice value: %q, %v, want %q", f.Effect.Seen, err, want)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.Hello().GuardPID))
	if err != nil {
		t.Fatal(err)
	}
	for _, th := range threads {
		tid, err := strconv.Atoi(th.Name())
		if err != nil {
			t.Fatal(err)
		}
		if now, ok := niceOf(t, tid); ok && now != guard {
			t.Errorf("the nice value of the guard's thread %d is %d, want %d", tid, now, guard)
		}
	}
}
