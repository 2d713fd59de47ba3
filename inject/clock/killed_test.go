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
	f := clock.New()
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
				killInjector(t, self, plan)
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

func killInjector(t *testing.T, self string, plan inject.Plan) {
	t.Helper()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), injector+"=1")
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
	time.Sleep(rand.N(8 * time.Millisecond)) // any moment will do: it injects and reverts without end
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
