package agent

import (
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
	"github.com/lockaudit/lockaudit/inject/pause"

	"golang.org/x/sys/unix"
)

// faults are those of every guard and heal of the tests.
func faults() []inject.Fault { return append(all.Faults(all.Options{Commands: true}), slow{}) }

// leave writes a plan into the journal of a state directory, as a crash leaves it.
func leave(t *testing.T, dir, id string, pid int, change func(*inject.Plan)) {
	t.Helper()
	p, err := pause.New().Prepare(testCtx(t), pauseSpec(pid, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = id
	change(&p)
	if err := os.MkdirAll(filepath.Join(dir, "faults"), 0o700); err != nil {
		t.Fatal(err)
	}
	j := &journal{dir: filepath.Join(dir, "faults"), step: func(string) {}}
	if err := j.write(p); err != nil {
		t.Fatal(err)
	}
}

func stop(t testing.TB, pid int) {
	t.Helper()
	kill(pid, syscall.SIGSTOP)
	within(t, "the target is stopped", func() bool { return stopped(pid) })
}

func TestRecoveryAtStart(t *testing.T) {
	dir, mine, old := stateDir(t), victim(t), victim(t)
	leave(t, dir, "000000000001", mine, func(*inject.Plan) {})
	leave(t, dir, "000000000002", old, func(p *inject.Plan) { p.BootID = "another" })
	if err := os.WriteFile(dir+"/faults/000000000003.json.tmp", []byte(`{"ver`), 0o600); err != nil {
		t.Fatal(err)
	}
	stop(t, mine)
	stop(t, old)
	c := dial(t, testCommand(t, dir))
	got := c.Hello().Recovered
	if len(got) != 2 || got[0].Outcome != OutcomeReverted || got[0].Effect.Count != 1 || got[1].Outcome != OutcomeRebooted {
		t.Errorf("recovered: %+v", got)
	}
	if stopped(mine) {
		t.Error("the leftover is still stopped")
	}
	if !stopped(old) {
		t.Error("a plan of another boot was carried out on a process of this one")
	}
	if files := journaled(t, dir); len(files) != 0 {
		t.Errorf("journal: %v", files)
	}
	if e, err := c.Revert(testCtx(t), "000000000001"); err != nil || e.Count != 1 {
		t.Errorf("revert of a recovered fault: %+v, %v", e, err)
	}
}

func TestUndecodableEntry(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "half": `{"version":1,"pl`, "version": `{"version":9,"plan":{}}`, "foreign id": `{"version":1,"plan":{"id":"00000000000b","spec":{"kind":"pause","for":1,"params":{}},"boot_id":"x","objects":[],"undo":{}}}`} {
		t.Run(name, func(t *testing.T) {
			dir, pid := stateDir(t), victim(t)
			leave(t, dir, "000000000001", pid, func(*inject.Plan) {})
			stop(t, pid)
			bad := filepath.Join(dir, "faults", "00000000000a.json")
			if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			c := dial(t, testCommand(t, dir))
			if stopped(pid) {
				t.Error("the readable entry was not reverted")
			}
			if r := c.Hello().Recovered; len(r) != 2 || r[1].Outcome != OutcomeFailed || r[1].File != bad {
				t.Errorf("recovered: %+v", r)
			}
			if _, err := c.Inject(testCtx(t), pauseSpec(pid, time.Second)); !errors.Is(err, ErrRevertFailed) || !strings.Contains(err.Error(), bad) {
				t.Errorf("inject: %v, want %v naming %s", err, ErrRevertFailed, bad)
			}
			_ = c.Close()
			done, err := Heal(testCtx(t), dir, faults())
			if !errors.Is(err, ErrRevertFailed) || len(done) != 1 {
				t.Errorf("heal: %+v, %v", done, err)
			}
			if _, err := os.Stat(bad); err != nil {
				t.Errorf("the entry was not kept: %v", err)
			}
			if err := os.Remove(bad); err != nil {
				t.Fatal(err)
			}
			if _, err := Heal(testCtx(t), dir, faults()); err != nil {
				t.Errorf("heal after it was removed by hand: %v", err)
			}
		})
	}
}

func TestHealWithoutAgent(t *testing.T) {
	dir, pid := stateDir(t), victim(t)
	leave(t, dir, "000000000001", pid, func(*inject.Plan) {})
	stop(t, pid)
	if plans, err := Journaled(dir); err != nil || len(plans) != 1 {
		t.Errorf("journaled: %+v, %v", plans, err)
	}
	done, err := Heal(testCtx(t), dir, faults())
	if err != nil || len(done) != 1 || done[0].Outcome != OutcomeReverted || stopped(pid) {
		t.Errorf("heal: %+v, %v", done, err)
	}
	if done, err := Heal(testCtx(t), dir, faults()); err != nil || len(done) != 0 {
		t.Errorf("second heal: %+v, %v", done, err)
	}
	if done, err := Heal(testCtx(t), dir+"/never", faults()); err != nil || len(done) != 0 {
		t.Errorf("heal where no agent ever was: %+v, %v", done, err)
	}
}

func TestOneAgentPerStateDirectory(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	c := dial(t, testCommand(t, dir))
	if _, err := Dial(testCtx(t), testCommand(t, dir), nil); err == nil || !strings.Contains(err.Error(), ErrBusy.Error()) {
		t.Errorf("second agent: %v, want %v", err, ErrBusy)
	}
	if _, err := Heal(testCtx(t), dir, faults()); !errors.Is(err, ErrBusy) {
		t.Errorf("heal beside an agent: %v, want %v", err, ErrBusy)
	}
	// The guard alone holds the directory too: it may still be reverting.
	kill(c.Hello().GuardPID, syscall.SIGSTOP)
	kill(c.Hello().PID, syscall.SIGKILL)
	if _, err := Heal(testCtx(t), dir, faults()); !errors.Is(err, ErrBusy) {
		t.Errorf("heal beside a guard: %v, want %v", err, ErrBusy)
	}
	kill(c.Hello().GuardPID, syscall.SIGCONT)
	mustHeal(t, dir)
}

// TestFullDisk: no journal entry, no fault.
func TestFullDisk(t *testing.T) {
	dir, pid := stateDir(t), victim(t)
	script := `mount -t tmpfs -o size=64k,mode=700 tmpfs "$LOCKAUDIT_STATE" && mkdir -p "$LOCKAUDIT_STATE/faults" && echo "pid 0" > "$LOCKAUDIT_STATE/lock" && { cat /dev/zero > "$LOCKAUDIT_STATE/fill" 2>/dev/null; exec "$0"; }`
	c := dial(t, testCommand(t, dir, "unshare", "--mount", "--map-root-user", "sh", "-c", script))
	if _, err := c.Inject(testCtx(t), pauseSpec(pid, time.Second)); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("inject with a full disk: %v", err)
	}
	if stopped(pid) {
		t.Error("a fault is in effect without a journal entry")
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestReadOnlyDisk: the same where the journal's directory was mounted read-only,
// while a fault is in effect and before an agent starts.
func TestReadOnlyDisk(t *testing.T) {
	dir, pid, other := stateDir(t), victim(t), victim(t)
	faults := filepath.Join(dir, "faults")
	c := dial(t, testCommand(t, dir))
	f := mustInject(t, c, pid, time.Minute)
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount(faults, faults, "", flags, ""); err != nil {
			t.Fatalf("mount read-only: %v; run this as root", err)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(faults, unix.MNT_DETACH) })
	refused := func(c *Conn) {
		t.Helper()
		if _, err := c.Inject(testCtx(t), pauseSpec(other, time.Minute)); !errors.Is(err, ErrJournal) || !strings.Contains(err.Error(), "read-only file system") || stopped(other) {
			t.Errorf("inject: %v, stopped %v", err, stopped(other))
		}
	}
	refused(c)
	// What is in effect is reverted; that its entry stays is said.
	if _, err := c.Revert(testCtx(t), f.ID); !errors.Is(err, ErrRevertFailed) || stopped(pid) {
		t.Errorf("revert: %v, stopped %v", err, stopped(pid))
	}
	if err := c.Close(); !errors.Is(err, ErrRevertFailed) {
		t.Errorf("close: %v", err)
	}
	stop(t, pid)
	if _, err := Heal(testCtx(t), dir, []inject.Fault{pause.New()}); !errors.Is(err, ErrRevertFailed) || stopped(pid) {
		t.Errorf("heal: %v, stopped %v", err, stopped(pid))
	}
	if err := unix.Unmount(faults, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if _, err := Heal(testCtx(t), dir, []inject.Fault{pause.New()}); err != nil || len(journaled(t, dir)) != 0 {
		t.Errorf("heal once the disk can be written: %v", err)
	}
	// The whole state directory, from the start.
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount(dir, dir, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	refused(dial(t, testCommand(t, dir)))
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":1,"op":"inject","spec":{"kind":"pause","for":1,"params":{"pid":1}}}`))
	f.Add([]byte(`{"version":1,"plan":{"id":"000000000001","spec":{"kind":"x","for":1,"params":{}},"boot_id":"b","objects":null,"undo":{}}}`))
	f.Add([]byte(`{"id":1,"ok":{"hello":{}},"data":{"raw":"AA=="}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := decodeOrder(b); err == nil {
			if _, err := json.Marshal(o); err != nil {
				t.Errorf("order does not encode again: %v", err)
			}
		}
		if m, err := decodeMessage(b); err == nil {
			_ = m.Data.bytes()
		}
		if p, err := decodeEntry("000000000001", b); err == nil && (p.ID != "000000000001" || p.BootID == "") {
			t.Errorf("entry accepted: %+v", p)
		}
	})
}
