package clock_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/injecttest"
)

// half an hour: far more than any machine is late.
const half = 30 * time.Minute

// slack is how late a machine may be that has stood still.
const slack = 5 * time.Minute

// The kernel does not undo this fault when its holder dies: the lease does, when it
// is over (TestLease).
func TestConformance(t *testing.T) {
	injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return clock.New() }, Target: subject})
}

// subject is a program with a child, each of which has a vDSO of its own.
func subject(t *testing.T) injecttest.Target {
	p := startC(t, "3")
	child := int(p.ask('f').realtime)
	return injecttest.Target{
		Params:   order(p.pid(), time.Hour, clock.Skew{Offset: half}).Params,
		Snapshot: func() string { return vdso(t, p.pid()) + vdso(t, child) },
		Remove: func() {
			p.kill()
			await(t, "the child dies with its parent", func() bool {
				s, err := inject.ReadStat(child)
				return err != nil || s.Dead()
			})
		},
	}
}

// vdso is a process's whole vDSO, as a hash.
func vdso(t *testing.T, pid int) string {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return fmt.Sprintf("%d: gone\n", pid)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if !strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Close()
		b := make([]byte, to-from)
		if _, err := mem.ReadAt(b, from); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d: %x\n", pid, sha256.Sum256(b))
	}
	return fmt.Sprintf("%d: no vDSO\n", pid)
}

// TestPrograms: what reads the time through the vDSO is skewed, whatever it is
// written in, and reads the right time afterwards. Monotonic time goes on.
func TestPrograms(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]func(*testing.T) *exec.Cmd{
		"C":           func(t *testing.T) *exec.Cmd { return exec.Command(inC(t), "2") },
		"static C":    func(t *testing.T) *exec.Cmd { return exec.Command(inC(t, "-static"), "2") },
		"seccomp":     func(t *testing.T) *exec.Cmd { return exec.Command(inC(t), "0", "seccomp") },
		"Go":          func(*testing.T) *exec.Cmd { return inGo(self) },
		"Java":        inJava,
		"time ns":     inTimeNamespace,
		"200 threads": func(t *testing.T) *exec.Cmd { return exec.Command(inC(t), "199") },
		"21 threads":  func(t *testing.T) *exec.Cmd { return exec.Command(inC(t), "20") },
	}
	for name, command := range programs {
		t.Run(name, func(t *testing.T) {
			p := start(t, command(t))
			if name == "time ns" {
				kids, err := inject.Children(ctx(t), p.pid())
				if err != nil || len(kids) != 1 {
					t.Fatal(kids, err)
				}
				p.child = kids[0]
			}
			before := vdso(t, p.pid())
			for i, offset := range []time.Duration{half, -half, 1500 * time.Hour} {
				f := clock.New()
				plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: offset}), strconv.Itoa(i))
				m1 := p.ask('r')
				if got := m1.wrong(); got < offset-slack || got > offset+slack {
					t.Errorf("its clock is wrong by %v, want %v", got, offset)
				}
				if d := (m1.realtime - m1.timeofday).Abs(); d > slack {
					t.Errorf("gettimeofday differs from clock_gettime by %v", d)
				}
				if d := (m1.realtime - m1.time).Abs(); d > slack {
					t.Errorf("time differs from clock_gettime by %v", d)
				}
				if e := revert(t, f, plan); e.Count != 1 {
					t.Errorf("reverted %+v, want 1 process", e)
				}
				m2 := p.ask('r')
				if got := m2.wrong().Abs(); got > slack {
					t.Errorf("after the revert its clock is wrong by %v", got)
				}
				if d := m2.monotonic - m1.monotonic; d < 0 || d > time.Minute {
					t.Errorf("its monotonic clock went by %v meanwhile", d)
				}
				if now := vdso(t, p.pid()); now != before {
					t.Errorf("the vDSO is %s and was %s", now, before)
				}
			}
		})
	}
}

func inGo(self string) *exec.Cmd {
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), goClocks+"=1")
	return cmd
}

// inTimeNamespace gives a program a CLOCK_MONOTONIC of its own, on which its lease
// must run.
func inTimeNamespace(t *testing.T) *exec.Cmd {
	return exec.Command("unshare", "--time", "--monotonic", "100000", "--boottime", "100000", "--fork", "--kill-child", inC(t))
}

// TestDrift: the error grows with time, in both directions, also together with a step.
func TestDrift(t *testing.T) {
	p := startC(t, "2")
	f := clock.New()
	for i, s := range []clock.Skew{{DriftPPM: clock.MaxDrift}, {DriftPPM: -clock.MaxDrift}, {Offset: -half, DriftPPM: clock.MaxDrift}} {
		plan := skewed(t, f, order(p.pid(), time.Hour, s), strconv.Itoa(i))
		// At 0.9 s per s, from nothing: what is asked for is far more than a question takes.
		await(t, fmt.Sprintf("%v grows", s), func() bool {
			r := p.ask('r')
			grown := r.realtime - time.Duration(time.Now().UnixNano()) - s.Offset
			if s.DriftPPM < 0 {
				grown = -grown
			}
			return grown > 400*time.Millisecond
		})
		revert(t, f, plan)
		if got := p.wrong().Abs(); got > slack {
			t.Errorf("after the revert its clock is wrong by %v", got)
		}
	}
}

// TestLease: when whoever injected the skew is killed, it ends at its deadline,
// without anybody's help; and what is left is found and removed from the plan alone.
func TestLease(t *testing.T) {
	p := startC(t, "2")
	before := vdso(t, p.pid())
	f := clock.New()
	end := inject.Now() + 700*time.Millisecond // at the earliest
	plan := skewed(t, f, order(p.pid(), 700*time.Millisecond, clock.Skew{Offset: half, DriftPPM: 1000}), "lease")
	if got := p.wrong().Abs(); inject.Now() < end && got < half-slack {
		t.Errorf("its clock is wrong by %v", got)
	}
	await(t, "the lease ends", func() bool { return p.wrong().Abs() < slack })
	if early := end - inject.Now(); early > 50*time.Millisecond {
		t.Errorf("the skew ended %v before its deadline", early)
	}
	if vdso(t, p.pid()) == before {
		t.Error("somebody has removed the stub: this test shows nothing")
	}
	revert(t, clock.New(), plan)
	if vdso(t, p.pid()) != before {
		t.Error("the stub is still there")
	}
}

// TestChange: a step, a drift and a strobe follow each other without a stop.
func TestChange(t *testing.T) {
	p := startC(t, "2")
	f := clock.New()
	plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half}), "change")
	child := int(p.ask('f').realtime) // inherits the stub, and must follow
	for i := range 100 {
		want := time.Duration(i%7+1) * half
		if err := f.Change(ctx(t), plan, clock.Skew{Offset: want}); err != nil {
			t.Fatal(err)
		}
		if got := (p.wrong() - want).Abs(); got > slack {
			t.Errorf("its clock is off the wanted %v by %v", want, got)
		}
		if got := (p.signal(child) - want).Abs(); got > slack {
			t.Errorf("the child's clock is off the wanted %v by %v", want, got)
		}
	}
	revert(t, f, plan)
	if err := f.Change(ctx(t), plan, clock.Skew{Offset: half}); err == nil {
		t.Error("changed a skew that is over")
	}

	plan = skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half, Strobe: 50 * time.Millisecond}), "strobe")
	for range 3 {
		await(t, "on", func() bool { return p.wrong() > half/2 })
		await(t, "off", func() bool { return p.wrong() < half/2 })
	}
	revert(t, f, plan)
	for range 20 {
		if got := p.wrong().Abs(); got > slack {
			t.Fatalf("after the revert its clock is wrong by %v", got)
		}
	}
}

// TestChildren: who is forked under the skew has it, is found and reverted too, also
// when its parent is gone; a program executed under it reads the right time.
func TestChildren(t *testing.T) {
	p := startC(t, "2")
	early := int(p.ask('f').realtime)
	f := clock.New()
	plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half}), "children")
	late := int(p.ask('f').realtime)
	for name, pid := range map[string]int{"forked before": early, "forked under the skew": late} {
		if got := p.signal(pid); got < half-slack {
			t.Errorf("%s: wrong by %v", name, got)
		}
	}
	if got := p.ask('t').wrong(); got < half-slack {
		t.Errorf("a new thread: wrong by %v", got)
	}
	p.ask('x')
	if got := p.wrong().Abs(); got > slack {
		t.Errorf("after an exec: wrong by %v", got)
	}
	// From the plan alone, as after a crash.
	if e := revert(t, clock.New(), plan); e.Count != 2 {
		t.Errorf("reverted %+v, want the 2 children", e)
	}
	for name, pid := range map[string]int{"forked before": early, "forked under the skew": late} {
		if got := p.signal(pid).Abs(); got > slack {
			t.Errorf("%s: after the revert wrong by %v", name, got)
		}
	}
	revert(t, f, plan)
}

// TestChurn: threads and children that come and go during every step neither escape
// nor die, and none is left with the stub.
func TestChurn(t *testing.T) {
	p := startC(t, "2", "churn")
	f := clock.New()
	for i := range 25 {
		plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half}), strconv.Itoa(i))
		if got := p.ask('t').wrong(); got < half-slack {
			t.Fatalf("a new thread: wrong by %v", got)
		}
		revert(t, f, plan)
		if got := p.ask('t').wrong().Abs(); got > slack {
			t.Fatalf("after the revert wrong by %v", got)
		}
		p.alive()
	}
}

// TestSignals: a signal that a thread was about to be given when it was stopped is
// given to it afterwards.
func TestSignals(t *testing.T) {
	p := startC(t, "2")
	child := int(p.ask('f').realtime)
	over, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		f := clock.New()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			plan, err := f.Prepare(ctx(t), order(child, time.Hour, clock.Skew{Offset: half}))
			if err == nil {
				plan.ID = strconv.Itoa(i)
				_, err = f.Inject(ctx(t), plan)
			}
			if err == nil {
				_, err = f.Revert(ctx(t), plan)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	lost := time.AfterFunc(5*time.Minute, p.kill) // then there is no answer
	for range 300 {
		p.signal(child)
	}
	lost.Stop()
	close(stop)
	<-over
}

// TestSignalsArriveOnce: threads that are just being given a signal when they are
// stopped get it, and get it once. The target ends itself otherwise.
func TestSignalsArriveOnce(t *testing.T) {
	p := startC(t, "0", "signals")
	lost := time.AfterFunc(40*time.Second, p.kill) // a signal by which it ends may be lost too
	defer lost.Stop()
	f := clock.New()
	for i := range 100 {
		plan := skewed(t, f, order(p.pid(), time.Minute, clock.Skew{Offset: half}), strconv.Itoa(i))
		revert(t, f, plan)
		p.alive()
	}
	if got := p.wrong().Abs(); got > 10*time.Second {
		t.Errorf("after the last revert wrong by %v", got)
	}
}

// TestOneProcess: without the tree, the children keep their clocks.
func TestOneProcess(t *testing.T) {
	p := startC(t)
	child := int(p.ask('f').realtime)
	sp := order(p.pid(), time.Hour, clock.Skew{Offset: half})
	sp.Params = json.RawMessage(strings.Replace(string(sp.Params), "{", `{"tree":false,`, 1))
	f := clock.New()
	plan := skewed(t, f, sp, "one")
	if got := p.wrong(); got < half-slack {
		t.Errorf("wrong by %v", got)
	}
	if got := p.signal(child).Abs(); got > slack {
		t.Errorf("the child: wrong by %v", got)
	}
	revert(t, f, plan)
}
