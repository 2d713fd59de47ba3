package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

func mustHalt(t *testing.T, dir, reason string) Halting {
	t.Helper()
	h, err := HaltNode(testCtx(t), dir, reason, faults())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHalt: a halt reverts what a running agent has in effect, keeps it and every
// later agent from injecting, and ends with a resume alone.
func TestHalt(t *testing.T) {
	dir, pid := stateDir(t), victim(t)
	c := dial(t, testCommand(t, dir))
	f := mustInject(t, c, pid, time.Hour)
	h := mustHalt(t, dir, "the shop is down")
	if stopped(pid) || len(journaled(t, dir)) != 0 {
		t.Errorf("after the halt: stopped %v, journal %v", stopped(pid), journaled(t, dir))
	}
	if len(h.Reverted) != 1 || h.Reverted[0].ID != f.ID || h.Reverted[0].Outcome != OutcomeReverted || h.Already || len(h.Killed) != 0 || h.LogErr != "" {
		t.Errorf("halting: %+v", h)
	}
	wantNotice(t, c, NoticeHalted, "")
	if n := wantNotice(t, c, NoticeReverted, f.ID); n.Why != whyHalt {
		t.Errorf("notice: %+v", n)
	}
	if e, err := c.Revert(testCtx(t), f.ID); err != nil || e.Count != 1 {
		t.Errorf("revert after the halt: %+v, %v", e, err)
	}
	refused := func(c *Conn) {
		t.Helper()
		_, err := c.Inject(testCtx(t), pauseSpec(pid, time.Minute))
		if !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), "the shop is down") || !strings.Contains(err.Error(), "by uid ") || stopped(pid) {
			t.Errorf("inject on a halted node: %v, stopped %v", err, stopped(pid))
		}
	}
	refused(c)
	if again := mustHalt(t, dir, "another reason"); !again.Already || again.Halt.Reason != "the shop is down" {
		t.Errorf("a second halt: %+v", again)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	later := dial(t, testCommand(t, dir))
	if h := later.Hello().Halted; h == nil || h.Reason != "the shop is down" {
		t.Errorf("hello of a later agent: %+v", h)
	}
	refused(later)
	if was, logErr, err := ResumeNode(dir); err != nil || was == nil || logErr != "" {
		t.Errorf("resume: %v, %s, %v", was, logErr, err)
	}
	if was, _, err := ResumeNode(dir); err != nil || was != nil {
		t.Errorf("a second resume: %v, %v", was, err)
	}
	f = mustInject(t, later, pid, time.Minute)
	if _, err := later.Revert(testCtx(t), f.ID); err != nil {
		t.Error(err)
	}
}

// TestHaltWithoutAgent: a node that has never had one, and one where a crash left
// something.
func TestHaltWithoutAgent(t *testing.T) {
	fresh := filepath.Join(stateDir(t), "not", "there")
	if h := mustHalt(t, fresh, ""); len(h.Reverted) != 0 {
		t.Errorf("%+v", h)
	}
	if Halted(fresh) == nil {
		t.Error("the halt of a node without a state directory is not kept")
	}
	dir, pid := stateDir(t), victim(t)
	leave(t, dir, "000000000001", pid, func(*inject.Plan) {})
	stop(t, pid)
	h := mustHalt(t, dir, "")
	if stopped(pid) || len(h.Reverted) != 1 || h.Reverted[0].Effect.Count != 1 || len(journaled(t, dir)) != 0 {
		t.Errorf("%+v, stopped %v", h, stopped(pid))
	}
}

// TestHaltOfStoppedAgent: an agent that cannot obey is ended, and what it had in
// effect is reverted all the same.
func TestHaltOfStoppedAgent(t *testing.T) {
	dir, pid := stateDir(t), victim(t)
	c := dial(t, testCommand(t, dir))
	mustInject(t, c, pid, time.Hour)
	kill(c.Hello().PID, syscall.SIGSTOP)
	kill(c.Hello().GuardPID, syscall.SIGSTOP)
	within(t, "both are stopped", func() bool { return stopped(c.Hello().PID) && stopped(c.Hello().GuardPID) })
	h := mustHalt(t, dir, "")
	if stopped(pid) || len(journaled(t, dir)) != 0 {
		t.Errorf("after the halt: stopped %v, journal %v", stopped(pid), journaled(t, dir))
	}
	if len(h.Killed) != 2 || len(h.Reverted) != 1 || h.Reverted[0].Outcome != OutcomeReverted {
		t.Errorf("%+v", h)
	}
}

// TestHaltThatCannotBeKept: on a full disk there is no marker, which is an error,
// and the fault is reverted nevertheless.
func TestHaltThatCannotBeKept(t *testing.T) {
	dir, pid := smallDisk(t), victim(t)
	leave(t, dir, "000000000001", pid, func(*inject.Plan) {})
	stop(t, pid)
	fill(t, dir)
	h, err := HaltNode(testCtx(t), dir, "", faults())
	if !errors.Is(err, ErrRevertFailed) || !strings.Contains(err.Error(), "no space left") || stopped(pid) {
		t.Errorf("%+v, %v, stopped %v", h, err, stopped(pid))
	}
}

// TestHaltAgainstInjections: whatever an agent is about to do when the halt comes,
// nothing is in effect once it has returned.
func TestHaltAgainstInjections(t *testing.T) {
	dir := stateDir(t)
	c := dial(t, testCommand(t, dir))
	for range 10 {
		pids := []int{victim(t), victim(t), victim(t)}
		done := make(chan error, len(pids))
		for _, pid := range pids {
			go func() {
				for {
					f, err := c.Inject(testCtx(t), pauseSpec(pid, time.Minute))
					if err != nil {
						done <- err
						return
					}
					_, _ = c.Revert(testCtx(t), f.ID)
				}
			}()
		}
		within(t, "something is in effect", func() bool {
			return stopped(pids[0]) || stopped(pids[1]) || stopped(pids[2])
		})
		mustHalt(t, dir, "")
		for range pids {
			if err := <-done; !errors.Is(err, ErrHalted) {
				t.Errorf("inject: %v", err)
			}
		}
		for _, pid := range pids {
			if stopped(pid) {
				t.Error("stopped on a halted node")
			}
		}
		if _, _, err := ResumeNode(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHaltInTheMiddle: the order was checked and its plan is in the journal when the
// halt comes. It is refused, not carried out and then reverted.
func TestHaltInTheMiddle(t *testing.T) {
	dir, pid := stateDir(t), victim(t)
	cmd := testCommand(t, dir)
	marker := filepath.Join(dir, "reached")
	cmd.Env = append(cmd.Env, testStop+"=written="+marker)
	c := dial(t, cmd)
	done := make(chan error, 1)
	go func() {
		_, err := c.Inject(testCtx(t), pauseSpec(pid, time.Minute))
		done <- err
	}()
	guard := c.Hello().GuardPID
	within(t, "the guard stands behind its journal", func() bool { return stopped(guard) })
	if err := mark(dir, Halt{Reason: "in the middle"}); err != nil {
		t.Fatal(err)
	}
	kill(guard, syscall.SIGCONT)
	if err := <-done; !errors.Is(err, ErrHalted) || stopped(pid) {
		t.Errorf("inject: %v, stopped %v", err, stopped(pid))
	}
	if files := journaled(t, dir); len(files) != 0 {
		t.Errorf("journal: %v", files)
	}
}

// TestUnreadableHalt: a marker that makes no sense halts.
func TestUnreadableHalt(t *testing.T) {
	dir := stateDir(t)
	if err := os.WriteFile(filepath.Join(dir, haltFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := dial(t, testCommand(t, dir))
	if _, err := c.Inject(testCtx(t), pauseSpec(victim(t), time.Minute)); !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), "nobody knows why") {
		t.Errorf("inject: %v", err)
	}
}

// smallDisk is a state directory on a disk of its own, of 256 kB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := stateDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=700"); err != nil {
		t.Fatalf("mount a small disk: %v; run this as root", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill leaves no byte free in a directory's disk.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for range 1000 {
		if _, err := f.Write(page); errors.Is(err, unix.ENOSPC) {
			return
		}
	}
	t.Fatal("the disk does not fill")
}
