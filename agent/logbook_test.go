package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// readLog returns the log as one line an event: "inject ordered", "revert ok order".
func readLog(t *testing.T, dir string) (words []string, all []trail.Record) {
	t.Helper()
	c, err := trail.Read(LogDir(dir), func(r trail.Record) {
		words = append(words, strings.TrimSpace(string(r.Event)+" "+string(r.Result)+" "+r.Why))
		all = append(all, r)
	})
	if err != nil || c.Broken != nil || len(c.Torn) > 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	return words, all
}

// TestEveryOrderIsLogged goes through a life of an agent and compares the log.
func TestEveryOrderIsLogged(t *testing.T) {
	dir, pid := stateDir(t), victim(t)
	cmd := testCommand(t, dir)
	cmd.Caller = Caller{Plan: "billing", Run: "2026-11-24T090000Z-billing"}
	cmd.Env = append(cmd.Env, "SUDO_USER=alice", "SSH_CONNECTION=10.0.0.9 51234 10.0.0.5 22")
	c := dial(t, cmd)
	f := mustInject(t, c, pid, time.Minute)
	if _, err := c.Revert(testCtx(t), f.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Inject(testCtx(t), pauseSpec(1, time.Second)); !errors.Is(err, inject.ErrRefused) {
		t.Fatal(err)
	}
	expired := mustInject(t, c, pid, 100*time.Millisecond)
	wantNotice(t, c, NoticeReverted, expired.ID)
	lost := mustInject(t, c, pid, time.Minute)
	// How it went is written behind the answer.
	within(t, "the injection is logged", func() bool {
		_, all := readLog(t, dir)
		return all[len(all)-1].Fault == lost.ID && all[len(all)-1].Result == trail.OK
	})
	kill(c.Hello().GuardPID, syscall.SIGKILL)
	wantNotice(t, c, NoticeGuardLost, "")
	mustInject(t, c, pid, time.Minute)
	mustHalt(t, dir, "enough")
	if _, _, err := ResumeNode(dir); err != nil {
		t.Fatal(err)
	}
	mustInject(t, c, pid, time.Minute)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	words, all := readLog(t, dir)
	if h := dial(t, testCommand(t, dir)).Hello().Log; h.Seq != all[len(all)-1].Seq || h.Sum != all[len(all)-1].Sum || h.Err != "" {
		t.Errorf("hello of the next agent: %+v, want the sum of record %d", h, len(all))
	}
	var got []string
	for i, w := range words {
		got = append(got, w)
		r := all[i]
		if r.Event != trail.Halt && r.Event != trail.Resume && r.Event != trail.Recover && r.Event != trail.Heal &&
			(r.Who.Plan != "billing" || r.Who.Run != "2026-11-24T090000Z-billing" || r.Who.SudoUser != "alice" || !strings.HasPrefix(r.Who.SSH, "10.0.0.9 ")) {
			t.Errorf("%s: who %+v", w, r.Who)
		}
	}
	// The guard that recovers says so before it is told for whom it works.
	want := []string{
		"start ok",
		"inject ordered", "inject ok", "revert ok order",
		"inject refused",
		"inject ordered", "inject ok", "expire ok deadline",
		"inject ordered", "inject ok", "recover ok reverted", "start ok",
		"inject ordered", "inject ok",
	}
	if strings.Join(got[:len(want)], "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Guard and command write at once here.
	rest := strings.Join(got[len(want):], "\n")
	for _, w := range []string{"revert ok halt", "halt ok enough", "heal ok reverted", "resume ok", "inject ordered\ninject ok\nrevert ok end of orders"} {
		if !strings.Contains(rest, w) {
			t.Errorf("%q is missing from\n%s", w, rest)
		}
	}
	ordered := all[1]
	if len(ordered.Objects) != 1 || !strings.Contains(ordered.Objects[0], "SIGSTOP") || ordered.For != time.Minute || ordered.Fault != f.ID || ordered.Kind != "pause" {
		t.Errorf("ordered: %+v", ordered)
	}
	if all[2].Deadline != f.Deadline || !strings.Contains(all[2].Detail, "in state T") {
		t.Errorf("injected: %+v", all[2])
	}
	if !strings.Contains(all[4].Detail, "is init") {
		t.Errorf("refused: %+v", all[4])
	}
}

// logOn gives an agent a log of its own, apart from its state.
func logOn(t *testing.T, c Command, dir string) Command {
	t.Helper()
	t.Setenv("LOCKAUDIT_LOG", dir)
	c.Env = append(c.Env, "LOCKAUDIT_LOG="+dir)
	return c
}

// TestNoInjectionWithoutLog: on a full or read-only disk, or with a log that was
// tampered with, nothing is injected; what is in effect is reverted all the same.
func TestNoInjectionWithoutLog(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, disk string){
		"full": fill,
		"read-only": func(t *testing.T, disk string) {
			if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, disk string) {
			f, err := os.OpenFile(filepath.Join(disk, "agent.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("{\"v\":1}\n"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, pid, other, disk := stateDir(t), victim(t), victim(t), smallDisk(t)
			c := dial(t, logOn(t, testCommand(t, dir), disk))
			f := mustInject(t, c, pid, time.Minute)
			if name == "read-only" { // no file may be open for writing
				kill(c.Hello().GuardPID, syscall.SIGKILL)
				within(t, "the next guard has reverted", func() bool { return len(journaled(t, dir)) == 0 && !stopped(pid) })
				_ = c.Close()
				spoil(t, disk)
				c = dial(t, testCommand(t, dir))
			} else {
				spoil(t, disk)
			}
			var err error
			for n := 0; err == nil && n < 40; n++ { // a few records may still fit into the last page
				var more Fault
				if more, err = c.Inject(testCtx(t), pauseSpec(other, time.Minute)); err == nil {
					_, err = c.Revert(testCtx(t), more.ID)
				}
			}
			if !errors.Is(err, ErrLog) {
				t.Fatalf("inject: %v, want %v", err, ErrLog)
			}
			if stopped(other) {
				t.Error("the target of the refused order is stopped")
			}
			if name != "read-only" {
				if _, err := c.Revert(testCtx(t), f.ID); err != nil || stopped(pid) {
					t.Errorf("revert: %v, stopped %v", err, stopped(pid))
				}
			}
			if files := journaled(t, dir); len(files) != 0 {
				t.Errorf("journal: %v", files)
			}
		})
	}
}

// TestLogThatHangs: somebody holds the log for ever. Reverts and deadlines do not
// wait for it, and neither does a halt.
func TestLogThatHangs(t *testing.T) {
	dir, other := stateDir(t), victim(t)
	c := dial(t, testCommand(t, dir))
	var pids []int
	var held []Fault
	for range 3 {
		pids = append(pids, victim(t))
		held = append(held, mustInject(t, c, pids[len(pids)-1], time.Hour))
	}
	short := mustInject(t, c, other, 500*time.Millisecond)
	lock, err := os.Open(filepath.Join(LogDir(dir), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	wantNotice(t, c, NoticeReverted, short.ID)
	// An order waits for the log and is refused; a revert that comes behind it is
	// done before. On a busy machine it may be overtaken once, not three times.
	first := false
	for i := range held {
		refused := make(chan error, 1)
		go func() {
			_, err := c.Inject(testCtx(t), pauseSpec(other, time.Minute))
			refused <- err
		}()
		within(t, "the order has come as far as the log", func() bool { return len(refused) > 0 || len(journaled(t, dir)) > len(held)-i })
		if _, err := c.Revert(testCtx(t), held[i].ID); err != nil || stopped(pids[i]) {
			t.Errorf("revert: %v, stopped %v", err, stopped(pids[i]))
		}
		first = first || len(refused) == 0
		if err := <-refused; !errors.Is(err, ErrLog) || stopped(other) {
			t.Errorf("inject: %v", err)
		}
	}
	if !first {
		t.Error("every revert waited for the log")
	}
	if h := mustHalt(t, dir, ""); h.LogErr == "" || Halted(dir) == nil {
		t.Errorf("halt: %+v", h)
	}
}

// TestLimits: the owner of a node has the last word.
func TestLimits(t *testing.T) {
	dir, a, b := stateDir(t), victim(t), victim(t)
	cmd := testCommand(t, dir)
	cmd.Env = append(cmd.Env, envMaxFor+"=2m", envMaxFaults+"=1")
	c := dial(t, cmd)
	if l := c.Hello().Limits; l.For != 2*time.Minute || l.Faults != 1 {
		t.Errorf("hello: %+v", l)
	}
	if _, err := c.Inject(testCtx(t), pauseSpec(a, 3*time.Minute)); !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), "--max-for") {
		t.Errorf("too long: %v", err)
	}
	if _, err := c.Prepare(testCtx(t), pauseSpec(a, 3*time.Minute)); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("too long, as a dry run: %v", err)
	}
	f := mustInject(t, c, a, 2*time.Minute)
	if _, err := c.Inject(testCtx(t), pauseSpec(b, time.Second)); !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), "--max-faults") || stopped(b) {
		t.Errorf("one more: %v", err)
	}
	if files := journaled(t, dir); len(files) != 1 {
		t.Errorf("journal: %v", files)
	}
	if _, err := c.Revert(testCtx(t), f.ID); err != nil {
		t.Fatal(err)
	}
	mustInject(t, c, b, time.Second)
}
