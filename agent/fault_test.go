package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/all"
)

func TestOrders(t *testing.T) {
	dir, pid := stateDir(t), victim(t)
	var trace bytes.Buffer
	c, err := Dial(testCtx(t), testCommand(t, dir), &trace)
	if err != nil {
		t.Fatal(err)
	}
	h := c.Hello()
	if h.Version != Version || h.AgentVersion != "test" || h.PID == 0 || h.GuardPID == 0 || h.GuardPID == h.PID ||
		h.BootID == "" || h.StateDir != dir || len(h.Kinds) != len(all.Faults(all.Options{}))+1 || !h.Kinds[0].Supported {
		t.Errorf("hello: %+v", h)
	}
	ctx := testCtx(t)
	p, err := c.Prepare(ctx, pauseSpec(pid, time.Minute))
	if err != nil || len(p.Objects) != 1 || stopped(pid) || len(journaled(t, dir)) != 0 {
		t.Errorf("prepare: %+v, %v, stopped=%v", p, err, stopped(pid))
	}
	f := mustInject(t, c, pid, time.Minute)
	if f.Deadline-f.InjectedAt != time.Minute || f.Effect.Count != 1 {
		t.Errorf("fault: %+v", f)
	}
	if files := journaled(t, dir); len(files) != 1 || files[0] != f.ID+".json" {
		t.Errorf("journal while in effect: %v", files)
	}
	if fs, err := c.Faults(ctx); err != nil || len(fs) != 1 || fs[0].ID != f.ID {
		t.Errorf("faults: %+v, %v", fs, err)
	}
	for range 2 { // the second answers how it ended
		if e, err := c.Revert(ctx, f.ID); err != nil || e.Count != 1 || stopped(pid) {
			t.Errorf("revert: %+v, %v", e, err)
		}
	}
	if files := journaled(t, dir); len(files) != 0 {
		t.Errorf("journal after the revert: %v", files)
	}
	for _, c1 := range []struct {
		err  error
		want error
	}{
		{second(c.Revert(ctx, "000000000000")), ErrUnknownFault},
		{second(c.Inject(ctx, pauseSpec(1, time.Second))), inject.ErrRefused},
		{second(c.Inject(ctx, pauseSpec(pid, 0))), inject.ErrRefused},
		{second(c.Inject(ctx, pauseSpec(1<<22-1, time.Second))), inject.ErrGone},
		{second(c.Inject(ctx, inject.Spec{Kind: "nonsense", For: 1})), inject.ErrUnsupported},
	} {
		if !errors.Is(c1.err, c1.want) {
			t.Errorf("got %v, want %v", c1.err, c1.want)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for line := range strings.Lines(trace.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("trace: %q", line)
		}
	}
	if !strings.Contains(trace.String(), `"op":"inject"`) || !strings.Contains(trace.String(), `in state T`) {
		t.Errorf("trace lacks the order or its answer: %s", trace.String())
	}
}

func second[T any](_ T, err error) error { return err }

func TestDeadline(t *testing.T) {
	pid := victim(t)
	c := dial(t, testCommand(t, stateDir(t)))
	const d = 300 * time.Millisecond
	f := mustInject(t, c, pid, d)
	within(t, "the deadline resumes", func() bool { return !stopped(pid) })
	if early := f.Deadline - rawNow(); early > 0 {
		t.Errorf("resumed %v before its deadline", early)
	}
	if n := wantNotice(t, c, NoticeReverted, f.ID); n.Why != "deadline" || n.Effect == nil || n.Effect.Count != 1 {
		t.Errorf("notice: %+v", n)
	}
	if e, err := c.Revert(testCtx(t), f.ID); err != nil || e.Count != 1 {
		t.Errorf("revert after the deadline: %+v, %v", e, err)
	}
	if fs, err := c.Faults(testCtx(t)); err != nil || len(fs) != 0 {
		t.Errorf("faults after the deadline: %+v, %v", fs, err)
	}
}

// TestGivenUpInject: an auditor that stops waiting does not leave a fault behind.
func TestGivenUpInject(t *testing.T) {
	pid := victim(t)
	c := dial(t, testCommand(t, stateDir(t)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Inject(ctx, pauseSpec(pid, time.Minute)); !errors.Is(err, context.Canceled) {
		t.Fatalf("inject: %v", err)
	}
	within(t, "nothing is in effect", func() bool {
		c.orphans.Wait()
		fs, err := c.Faults(testCtx(t))
		return err == nil && len(fs) == 0 && !stopped(pid)
	})
}

// TestKilled is about what the auditor hears when somebody dies or hangs;
// TestMatrix is about the faults.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name     string
		duration time.Duration
		hit      func(Hello)
		lost     bool // the agent is
	}{
		{"kill -9 agent", time.Hour, func(h Hello) { kill(h.PID, syscall.SIGKILL) }, true},
		{"kill -9 guard", time.Hour, func(h Hello) { kill(h.GuardPID, syscall.SIGKILL) }, false},
		{"kill -9 both", time.Hour, func(h Hello) { kill(h.PID, syscall.SIGKILL); kill(h.GuardPID, syscall.SIGKILL) }, true},
		{"SIGTERM agent", time.Hour, func(h Hello) { kill(h.PID, syscall.SIGTERM) }, true},
		{"SIGTERM guard", time.Hour, func(h Hello) { kill(h.GuardPID, syscall.SIGTERM) }, false},
		{"SIGSTOP agent", time.Second, func(h Hello) { kill(h.PID, syscall.SIGSTOP) }, false},
		{"SIGSTOP guard", time.Second, func(h Hello) { kill(h.GuardPID, syscall.SIGSTOP) }, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			dir, pid := stateDir(t), victim(t)
			c := dial(t, testCommand(t, dir))
			f := mustInject(t, c, pid, x.duration)
			x.hit(c.Hello())
			within(t, "the target runs", func() bool { return !stopped(pid) })
			kill(c.Hello().PID, syscall.SIGCONT)
			if x.lost {
				err := c.Close()
				if x.name != "SIGTERM agent" && !errors.Is(err, ErrRevertFailed) {
					t.Errorf("close after a lost agent: %v, want %v", err, ErrRevertFailed)
				}
				if mustHeal(t, dir); len(journaled(t, dir)) != 0 {
					t.Errorf("journal: %v", journaled(t, dir))
				}
				return
			}
			if e, err := c.Revert(testCtx(t), f.ID); err != nil {
				t.Errorf("revert: %+v, %v", e, err)
			}
			if files := journaled(t, dir); len(files) != 0 {
				t.Errorf("journal: %v", files)
			}
			if x.name != "SIGSTOP agent" {
				wantNotice(t, c, NoticeGuardLost, "")
			}
			// And it goes on working, with a new guard if need be.
			f = mustInject(t, c, pid, time.Minute)
			if _, err := c.Revert(testCtx(t), f.ID); err != nil || stopped(pid) {
				t.Errorf("second revert: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func kill(pid int, s syscall.Signal) { _ = syscall.Kill(pid, s) }

// TestCrashAtEveryStep kills the guard between any two steps of a fault's life.
func TestCrashAtEveryStep(t *testing.T) {
	for _, step := range []string{"before-write", "written", "injected", "reverted", "removed"} {
		t.Run(step, func(t *testing.T) {
			dir, pid := stateDir(t), victim(t)
			cmd := testCommand(t, dir)
			marker := filepath.Join(dir, "crashed")
			cmd.Env = append(cmd.Env, testCrash+"="+step+"="+marker)
			c := dial(t, cmd)
			f, err := c.Inject(testCtx(t), pauseSpec(pid, time.Minute))
			if err == nil {
				_, err = c.Revert(testCtx(t), f.ID)
			} else if !errors.Is(err, ErrGuardLost) {
				t.Errorf("inject: %v, want %v", err, ErrGuardLost)
			}
			if err != nil && !errors.Is(err, ErrGuardLost) {
				t.Errorf("revert: %v", err)
			}
			if _, err := os.Stat(marker); err != nil {
				t.Fatalf("the guard did not come to the step: %v", err)
			}
			wantNotice(t, c, NoticeGuardLost, "")
			within(t, "nothing is left", func() bool {
				return !stopped(pid) && len(journaled(t, dir)) == 0
			})
			f = mustInject(t, c, pid, time.Minute)
			if _, err := c.Revert(testCtx(t), f.ID); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}
