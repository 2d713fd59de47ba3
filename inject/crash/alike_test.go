package crash_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/target"
)

// sleepers are servers without a socket, which only their directory tells apart from
// those of other tests.
type sleepers struct{ dir, seconds string }

func newSleepers(t *testing.T) sleepers {
	return sleepers{t.TempDir(), fmt.Sprintf("1000.%d", time.Now().UnixNano())}
}

// start returns when the new one shows its command line.
func (s sleepers) start(t *testing.T) int {
	t.Helper()
	return s.startIn(t, s.dir)
}

func (s sleepers) startIn(t *testing.T, dir string) int {
	t.Helper()
	cmd := exec.Command("sleep", s.seconds)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // a zombie would be a process still
	t.Cleanup(func() {
		for _, pid := range s.pids() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	await(t, "the sleeper runs", func() bool { return slices.Contains(s.pids(), cmd.Process.Pid) })
	return cmd.Process.Pid
}

func (s sleepers) pids() (out []int) {
	for _, pid := range crash.WithCmdline("sleep\x00" + s.seconds + "\x00") {
		if st, err := inject.ReadStat(pid); err == nil && !st.Dead() {
			out = append(out, pid)
		}
	}
	return out
}

// TestAlikeBefore: two identical servers without a socket. The one that is left, and
// one that an operator starts before the kill, are no replacement of the other.
func TestAlikeBefore(t *testing.T) {
	s := newSleepers(t)
	victim, other := s.start(t), s.start(t)
	params, err := json.Marshal(crash.Params{Target: target.Selector{PID: victim}, DownFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	spec := inject.Spec{Kind: crash.Kind, For: time.Minute, Params: params}
	f := newFault()
	p := prepare(t, f, spec, "alike")
	time.Sleep(20 * time.Millisecond) // two ticks of the clock of starts
	between := s.start(t)
	time.Sleep(20 * time.Millisecond)
	if _, err := f.Inject(ctx(t), p); err != nil {
		t.Fatal(err)
	}
	elsewhere := s.startIn(t, t.TempDir()) // a younger one, of somebody else
	e, err := f.Revert(ctx(t), p)
	if err != nil {
		t.Fatal(err)
	}
	fresh := slices.DeleteFunc(s.pids(), func(pid int) bool { return pid == other || pid == between || pid == elsewhere })
	if len(fresh) != 1 || !strings.Contains(e.Seen, fmt.Sprintf("runs as process %d", fresh[0])) {
		t.Errorf("%q: new are %v; process %d was killed, %d, %d and %d are others", e.Seen, fresh, victim, other, between, elsewhere)
	}
}

// TestAlikeAfter: the only new one is the replacement, whoever started it; of two,
// neither is.
func TestAlikeAfter(t *testing.T) {
	for n := 1; n <= 2; n++ {
		s, f := newSleepers(t), newFault()
		params, err := json.Marshal(crash.Params{Target: target.Selector{PID: s.start(t)}, DownFor: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		p := prepare(t, f, inject.Spec{Kind: crash.Kind, For: time.Minute, Params: params}, fmt.Sprint("alike", n))
		if _, err := f.Inject(ctx(t), p); err != nil {
			t.Fatal(err)
		}
		var mine []int
		for range n {
			mine = append(mine, s.start(t))
		}
		e, err := f.Revert(ctx(t), p)
		if err != nil {
			t.Fatal(err)
		}
		fresh := slices.DeleteFunc(s.pids(), func(pid int) bool { return slices.Contains(mine, pid) })
		if n == 1 && (len(fresh) != 0 || !strings.Contains(e.Seen, fmt.Sprintf("runs as process %d", mine[0]))) {
			t.Errorf("%q: new are %v beside %v", e.Seen, fresh, mine)
		}
		if n == 2 && (len(fresh) != 1 || !strings.Contains(e.Seen, fmt.Sprintf("runs as process %d", fresh[0]))) {
			t.Errorf("%q: new are %v beside %v", e.Seen, fresh, mine)
		}
	}
}
