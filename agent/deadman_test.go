package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// TestSwitchUnderDrift: under any rate that a drift fault can set, and with an NTP
// daemon that changes it further while the process is stopped, the switch never
// comes before its instant of CLOCK_MONOTONIC_RAW, and hardly after.
func TestSwitchUnderDrift(t *testing.T) {
	for _, x := range []struct {
		tick, freq int64
		rate       float64
	}{
		{10_000, 0, 1},
		{11_000, 0, 1.1},
		{9_000, 0, 0.9},
		{10_000, 500 << 16, 1.0005},
		{11_000, -500 << 16, 1.1 * 0.9995},
	} {
		rate := rateOf(x.tick, x.freq)
		if d := rate - x.rate; d > 1e-9 || d < -1e-9 {
			t.Errorf("tick %d, frequency %d: rate %v, want %v", x.tick, x.freq, rate, x.rate)
		}
		for _, ntp := range []float64{1, 1.0005, 0.9995} {
			raw := time.Duration(float64(onMonotonic(time.Hour, rate)) / (rate * ntp))
			if raw < time.Hour || raw > time.Hour+6*time.Second {
				t.Errorf("tick %d, then NTP %v: an hour takes %v", x.tick, ntp, raw)
			}
		}
	}
	if r := clockRate(); r < 0.89 || r > 1.11 {
		t.Errorf("this machine's clock runs at the rate %v", r)
	}
}

// slow is a fault that takes long to revert, as the start of a service does.
type slow struct{}

type slowParams struct {
	Done string        `json:"done"` // a file that the revert makes when it is through
	Take time.Duration `json:"take"`
}

func (slow) Kind() string { return "slow" }

func (slow) Prepare(_ context.Context, s inject.Spec) (inject.Plan, error) {
	boot, err := inject.BootID()
	return inject.Plan{Spec: s, BootID: boot, Objects: []string{"nothing"}, Undo: []byte(`{}`)}, err
}

func (slow) Inject(context.Context, inject.Plan) (inject.Effect, error) {
	return inject.Effect{Seen: "nothing", Count: 1}, nil
}

func (slow) Revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	var x slowParams
	if err := json.Unmarshal(p.Spec.Params, &x); err != nil {
		return inject.Effect{}, err
	}
	select {
	case <-time.After(x.Take):
		return inject.Effect{Seen: "done", Count: 1}, os.WriteFile(x.Done, nil, 0o600)
	case <-ctx.Done():
		return inject.Effect{}, ctx.Err()
	}
}

// TestSlowRevertIsNotKilled: a guard without an agent that is still at work long
// past the deadline is not a dead man.
func TestSlowRevertIsNotKilled(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	done := filepath.Join(dir, "done")
	c := dial(t, testCommand(t, dir))
	injectSlow(t, c, done, guardSlack+3*time.Second)
	kill(c.Hello().PID, syscall.SIGKILL)
	within(t, "the guard has ended", func() bool { return gone(c.Hello().GuardPID) })
	if _, err := os.Stat(done); err != nil || len(journaled(t, dir)) != 0 {
		t.Errorf("the guard was killed in the middle: %v, journal %v", err, journaled(t, dir))
	}
}

// TestSlowRecoveryIsNotKilled: nor is an agent whose new guard is at work on what
// the last one left.
func TestSlowRecoveryIsNotKilled(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	c := dial(t, testCommand(t, dir))
	for i := range 2 {
		injectSlow(t, c, filepath.Join(dir, fmt.Sprint("done", i)), agentSlack*7/10)
	}
	kill(c.Hello().GuardPID, syscall.SIGKILL)
	for range 2 {
		if n := wantNotice(t, c, NoticeReverted, ""); n.Why != "guard lost" {
			t.Errorf("notice: %+v", n)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func injectSlow(t *testing.T, c *Conn, done string, take time.Duration) Fault {
	t.Helper()
	params := fmt.Appendf(nil, `{"done":%q,"take":%d}`, done, take)
	f, err := c.Inject(testCtx(t), inject.Spec{Kind: "slow", For: time.Second, Params: params})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
