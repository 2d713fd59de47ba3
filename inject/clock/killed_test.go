package clock_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
)

// killAt is the step behind which the injector is killed; "" for none.
const killAt = "LOCKAUDIT_TEST_KILL_AT"

// injector, when set, makes this test binary one that injects and reverts the plan on
// its stdin without end; tracerOf one that traces a process, as a debugger does.
const (
	injector = "LOCKAUDIT_TEST_INJECTOR"
	tracerOf = "LOCKAUDIT_TEST_TRACER_OF"
)

func injectForEver() {
	var p inject.Plan
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		panic(err)
	}
	f := clock.New().KillAt(os.Getenv(killAt))
	fmt.Println("ready")
	for {
		ctx, cancel := injectContext()
		if _, err := f.Inject(ctx, p); err != nil {
			panic(err)
		}
		if _, err := f.Revert(ctx, p); err != nil {
			panic(err)
		}
		cancel()
	}
}

// TestKilled kills 200 injectors with SIGKILL at random moments of their work. No
// target may die, and every state that they leave is put back from the plan alone.
func TestKilled(t *testing.T) {
	const workers, kills = 4, 50
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int32
	t.Cleanup(func() {
		t.Logf("%d of %d kills left something", left.Load(), workers*kills)
		if left.Load() == 0 {
			t.Error("no kill hit an injection: this test shows nothing")
		}
	})
	for w := range workers {
		t.Run(strconv.Itoa(w), func(t *testing.T) {
			t.Parallel()
			p := startC(t, "8")
			before := vdso(t, p.pid())
			for range kills {
				plan, err := clock.New().Prepare(ctx(t), order(p.pid(), time.Hour, clock.Skew{Offset: half}))
				if err != nil {
					t.Fatal(err)
				}
				plan.ID = "killed"
				killInjector(t, self, "", plan)
				p.alive()
				if p.ask('r'); vdso(t, p.pid()) != before {
					left.Add(1)
				}
				revert(t, clock.New(), plan)
				if vdso(t, p.pid()) != before {
					t.Fatal("the vDSO is not as it was")
				}
				if got := p.wrong().Abs(); got > slack {
					t.Fatalf("its clock is wrong by %v", got)
				}
			}
		})
	}
}

// TestKilledAtEveryStep kills injectors behind each of their writes: the target goes
// on, for an entry leads only to what is there, and is put back from the plan alone.
func TestKilledAtEveryStep(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := startC(t, "8") // eight threads call all the time
	before := vdso(t, p.pid())
	for _, step := range []string{
		"patch stub", "patch entry 0", "patch entry 1", "patch entry 2",
		"restore entry 0", "restore entry 1", "restore entry 2", "restore stub",
	} {
		plan, err := clock.New().Prepare(ctx(t), order(p.pid(), time.Minute, clock.Skew{Offset: half}))
		if err != nil {
			t.Fatal(err)
		}
		plan.ID = step
		killInjector(t, self, step, plan)
		if now := vdso(t, p.pid()); (now != before) != (step != "restore stub") {
			t.Errorf("killed at %q, the vDSO is as it was: %v", step, now == before)
		}
		for range 20 {
			p.ask('r') // through each of the entries
		}
		p.alive()
		revert(t, clock.New(), plan)
		if vdso(t, p.pid()) != before {
			t.Fatalf("killed at %q: the vDSO is not as it was", step)
		}
		if got := p.wrong().Abs(); got > 10*time.Second {
			t.Fatalf("killed at %q: its clock is wrong by %v", step, got)
		}
	}
}

// killInjector has an injector be killed behind a step, or at any moment.
func killInjector(t *testing.T, self, step string, plan inject.Plan) {
	t.Helper()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), injector+"=1", killAt+"="+step)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = json.NewEncoder(in).Encode(plan)
	if line, e := bufio.NewReader(out).ReadString('\n'); err != nil || e != nil {
		t.Errorf("injector: %q %v %v", line, err, e)
	}
	if step == "" {
		time.Sleep(rand.N(8 * time.Millisecond)) // any moment will do: it injects and reverts without end
	} else {
		late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Wait()
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
