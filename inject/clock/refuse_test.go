package clock_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

func TestRefusesParams(t *testing.T) {
	p := startC(t)
	before := vdso(t, p.pid())
	me := fmt.Sprintf(`"target":{"pid":%d}`, p.pid())
	for params, want := range map[string]string{
		`{` + me + `}`: "neither offset nor drift_ppm",
		`{` + me + `,"offset":1000000000,"clock":"monotonic"}`:          "only wall clocks can be skewed",
		`{` + me + `,"offset":1000000000,"clock":"boottime"}`:           "only wall clocks can be skewed",
		`{` + me + `,"offset":1000000000,"clock":"tai"}`:                `clock is "tai"`,
		`{` + me + `,"offset":-9000000000000000000}`:                    "the clock would show " + time.Now().Add(-9e18).Format("2006"),
		`{` + me + `,"drift_ppm":1e7}`:                                  "at most 900000",
		`{` + me + `,"drift_ppm":-1e6}`:                                 "at most 900000",
		`{` + me + `,"offset":1,"strobe":1000}`:                         "strobe is 1µs, at least 10ms",
		`{"offset":1000000000}`:                                         "nothing is named",
		`{"target":{"pid":1},"offset":1000000000}`:                      "init",
		`{"target":{"pid":4194303},"offset":1000000000}`:                "gone",
		`{"target":{"name":"no-such-program"},"offset":1}`:              "no such process",
		fmt.Sprintf(`{"target":{"pid":%d},"offset":1}`, os.Getpid()):    "the agent, its guard or an ancestor",
		fmt.Sprintf(`{"target":{"pid":%d},"offset":1}`, os.Getppid()):   "the agent, its guard or an ancestor",
		fmt.Sprintf(`{"target":{"pid":%d},"offset":1.5}`, p.pid()):      "offset",
		fmt.Sprintf(`{"target":{"pid":%d},"offset":"30s"}`, p.pid()):    "offset",
		`{"target":{"pid":` + strconv.Itoa(p.pid()) + `},"offset":1}{}`: "after",
	} {
		_, err := clock.New().Prepare(ctx(t), inject.Spec{Kind: clock.Kind, For: time.Minute, Params: json.RawMessage(params)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", params, err, want)
		}
		if strings.Contains(want, "only wall clocks") && !errors.Is(err, inject.ErrRefused) {
			t.Errorf("%s: %v is not a refusal", params, err)
		}
	}
	if vdso(t, p.pid()) != before {
		t.Error("a refused order has changed the target")
	}
}

// poke writes into a process's vDSO, as another tool might.
func poke(t *testing.T, pid int, function string, b ...byte) {
	t.Helper()
	at, err := clock.Entry(pid, function)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	if _, err := mem.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestRefusesForeignPatch: what somebody else has patched stays as it is, at every
// step, and so does everything else of that process.
func TestRefusesForeignPatch(t *testing.T) {
	for _, function := range []string{"__vdso_clock_gettime", "__vdso_time", "__vdso_getcpu"} {
		t.Run(function, func(t *testing.T) {
			p := startC(t)
			f := clock.New()
			late, err := f.Prepare(ctx(t), order(p.pid(), time.Hour, clock.Skew{Offset: half}))
			if err != nil {
				t.Fatal(err)
			}
			late.ID = "late"
			poke(t, p.pid(), function, 0x90)
			changed := vdso(t, p.pid())
			if _, err := f.Prepare(ctx(t), order(p.pid(), time.Hour, clock.Skew{Offset: half})); !errors.Is(err, inject.ErrRefused) {
				t.Errorf("prepare: %v, want %v", err, inject.ErrRefused)
			}
			if _, err := f.Inject(ctx(t), late); !errors.Is(err, inject.ErrRefused) {
				t.Errorf("inject: %v, want %v", err, inject.ErrRefused)
			}
			revert(t, f, late)
			if vdso(t, p.pid()) != changed {
				t.Error("the other's patch is not as it was")
			}
		})
	}
}

// TestForeignPatchUnderSkew: when somebody else patches over our patch, the revert
// takes away what is ours, and says that the rest is not.
func TestForeignPatchUnderSkew(t *testing.T) {
	p := startC(t)
	f := clock.New()
	plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half}), "a")
	poke(t, p.pid(), "__vdso_getcpu", 0x90)
	if _, err := f.Revert(ctx(t), plan); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("revert: %v, want %v", err, inject.ErrRefused)
	}
	if got := p.wrong().Abs(); got > slack {
		t.Errorf("its clock is wrong by %v", got)
	}
}

func TestRefusesSecondSkew(t *testing.T) {
	p := startC(t)
	f := clock.New()
	late, err := f.Prepare(ctx(t), order(p.pid(), time.Hour, clock.Skew{Offset: -half}))
	if err != nil {
		t.Fatal(err)
	}
	late.ID = "late"
	plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half}), "first")
	if _, err := f.Prepare(ctx(t), order(p.pid(), time.Hour, clock.Skew{Offset: -half})); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("prepare: %v, want %v", err, inject.ErrRefused)
	}
	if _, err := f.Inject(ctx(t), late); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("inject: %v, want %v", err, inject.ErrRefused)
	}
	revert(t, f, late)
	if got := p.wrong(); got < half-slack {
		t.Errorf("the revert of the refused fault has touched the first one: wrong by %v", got)
	}
	revert(t, f, plan)
}

// TestRefusesTraced: a process under a debugger stays with it.
func TestRefusesTraced(t *testing.T) {
	p := startC(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	debugger := exec.Command(self)
	debugger.Env = append(os.Environ(), fmt.Sprintf("%s=%d", tracerOf, p.pid()))
	debugger.Stderr = os.Stderr
	tracing := start(t, debugger)
	f := clock.New()
	plan, err := f.Prepare(ctx(t), order(p.pid(), time.Hour, clock.Skew{Offset: half}))
	if err != nil {
		t.Fatal(err)
	}
	plan.ID = "traced"
	if _, err := f.Inject(ctx(t), plan); !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), fmt.Sprintf("by process %d: traced by another process", tracing.pid())) {
		t.Errorf("inject: %v", err)
	}
	revert(t, f, plan)
	p.ask('r')
}

// TestRevertUnderDebugger: a debugger that came after the skew keeps the code from being
// taken out, which is said, and not the clock from being right.
func TestRevertUnderDebugger(t *testing.T) {
	p := startC(t)
	f := clock.New()
	plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half}), "a")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	debugger := exec.Command(self)
	debugger.Env = append(os.Environ(), fmt.Sprintf("%s=%d", tracerOf, p.pid()))
	debugger.Stderr = os.Stderr
	tracing := start(t, debugger)
	if _, err := f.Revert(ctx(t), plan); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("revert: %v, want %v", err, inject.ErrRefused)
	}
	if got := p.wrong().Abs(); got > slack {
		t.Errorf("its clock is wrong by %v", got)
	}
	tracing.kill()
	revert(t, f, plan)
}

func trace(pid int) {
	runtime.LockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		panic(err)
	}
	fmt.Println("0 0 0 0")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the test ends it
}

// TestStoppedTarget: a process that job control has stopped is skewed all the same,
// and still stopped afterwards.
func TestStoppedTarget(t *testing.T) {
	p := startC(t, "2")
	stopped := func() bool { s, err := inject.ReadStat(p.pid()); return err == nil && s.State == 'T' }
	if err := syscall.Kill(p.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "stopped", stopped)
	f := clock.New()
	plan := skewed(t, f, order(p.pid(), time.Hour, clock.Skew{Offset: half}), "stopped")
	await(t, "stopped again", stopped)
	if err := syscall.Kill(p.pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := p.wrong(); got < half-slack {
		t.Errorf("its clock is wrong by %v", got)
	}
	revert(t, f, plan)
}

// TestSelector: the process can be named in any of the ways of inject/target.
func TestSelector(t *testing.T) {
	p := startC(t)
	b, err := json.Marshal(clock.Params{Target: target.Selector{Cmdline: target.Cmdline{Args: p.cmd.Args}}, Skew: clock.Skew{Offset: half}})
	if err != nil {
		t.Fatal(err)
	}
	f := clock.New()
	plan := skewed(t, f, inject.Spec{Kind: clock.Kind, For: time.Minute, Params: b}, "a")
	if got := p.wrong(); got < half-slack {
		t.Errorf("its clock is wrong by %v", got)
	}
	revert(t, f, plan)
}
