//go:build vm

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/lab/vm"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// undone is a fault that the kernel does not undo.
type undone struct {
	kind, params string
	// look says how it is; off whether now is as before, wrong whether it is as the fault
	// makes it.
	look       func(*testing.T) string
	off, wrong func(before, now string) bool
	healed     string // a word of heal's
}

func undones() []undone {
	return []undone{
		{
			kind: "degrade", params: `{"peers":["10.99.0.2"],"delay":1000000,"loss":1}`, look: dummyQdiscs,
			off:    func(before, now string) bool { return now == before },
			wrong:  func(_, now string) bool { return strings.Contains(now, "netem") },
			healed: "noqueue is back",
		},
		{
			kind: "clock-node", params: clockStep, look: func(t *testing.T) string { return wall(t).String() },
			off:    func(before, now string) bool { return between(before, now).Abs() <= 10*time.Millisecond },
			wrong:  func(before, now string) bool { return (between(before, now) - time.Hour).Abs() < time.Minute },
			healed: "its rate is as before",
		},
	}
}

// TestVMIsReverted: somebody has to revert them, whoever is killed or stopped.
func TestVMIsReverted(t *testing.T) {
	m := vm.Machine{Modules: []string{"dummy", "sch_netem", "sch_prio", "cls_flower"}}
	if !vm.Inside() {
		m.Programs = vm.BuildTest(t, "cmd/lockaudit-agent").Programs()
	}
	var cases []vm.Case
	for _, u := range undones() {
		for name, end := range endings() {
			cases = append(cases, vm.Case{Name: u.kind + ", " + name, Test: func(t *testing.T) { u.and(t, end) }})
		}
	}
	vm.Suite(t, m, cases)
}

func (u undone) and(t *testing.T, end ending) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before := u.look(t)
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{"/bin/lockaudit-agent", "--allow-node-clock"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := inject.Spec{Kind: u.kind, For: 10 * time.Minute, Params: []byte(u.params)}
	if end.in > 0 {
		s.For = end.in
	}
	start := inject.Now()
	if _, err := c.Inject(ctx, s); err != nil {
		t.Fatal(err)
	}
	// A machine that stands still may let the deadline pass before anybody looks.
	if now := u.look(t); !u.wrong(before, now) && (end.in == 0 || inject.Now()-start < end.in) {
		t.Fatalf("after inject it is %s, and was %s", now, before)
	}
	if end.by != nil {
		end.by(t, c)
	}
	if end.heal {
		if now := u.look(t); !u.wrong(before, now) {
			t.Fatalf("the kernel has undone it, which docs/faults/%s.md denies: %s", u.kind, now)
		}
		// Without --allow-node-clock: to heal needs no permission.
		for _, want := range []string{u.healed, "nothing to heal"} {
			if out, status := runIt(t, "/bin/lockaudit-agent", "/run/lockaudit-agent", "heal"); status != 0 || !strings.Contains(out, want) {
				t.Errorf("heal: %d, %s, want %q", status, out, want)
			}
		}
	}
	for now := u.look(t); !u.off(before, now); now = u.look(t) {
		if ctx.Err() != nil {
			t.Fatalf("it is %s, and was %s", now, before)
		}
		time.Sleep(time.Millisecond)
	}
	_ = unix.Kill(c.Hello().PID, unix.SIGCONT)
}

const clockStep = `{"offset":3600000000000,"drift_ppm":400}`

// wall is the wall clock against the one that nothing adjusts: the closest of many
// readings, because a test that is held up in between reads a step that is none.
func wall(t *testing.T) time.Duration {
	t.Helper()
	if !vm.Inside() {
		t.Fatal("this is not a virtual machine")
	}
	var best time.Duration
	width := time.Duration(math.MaxInt64)
	for range 200 {
		a := inject.Now()
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
		if b := inject.Now(); b-a < width {
			width, best = b-a, time.Duration(ts.Nano())-(a+b)/2
		}
	}
	return best
}

func between(a, b string) time.Duration {
	x, _ := time.ParseDuration(a)
	y, _ := time.ParseDuration(b)
	return y - x
}

// dummyQdiscs is what dummy0, which leads to 10.99.0.2, sends through.
func dummyQdiscs(t *testing.T) string {
	t.Helper()
	l, err := netlink.LinkByName("dummy0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr("10.99.0.1/24")
	if err == nil {
		err = errors.Join(netlink.AddrReplace(l, a), netlink.LinkSetUp(l))
	}
	if err != nil {
		t.Fatal(err)
	}
	return qdiscs(t, l)
}

func qdiscs(t *testing.T, l netlink.Link) string {
	t.Helper()
	all, err := netlink.QdiscList(l)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, q := range all {
		words = append(words, fmt.Sprintf("%s %x", q.Type(), q.Attrs().Handle))
	}
	return strings.Join(words, ", ")
}
