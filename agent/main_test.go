package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/all"
	"github.com/lockaudit/lockaudit/inject/pause"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also the agent and the guard that the tests kill.
const (
	testRole  = "LOCKAUDIT_TEST_ROLE"
	testCrash = "LOCKAUDIT_TEST_CRASH" // step=marker file: kill -9 there, once
	testStop  = "LOCKAUDIT_TEST_STOP"  // step=marker file: SIGSTOP there, once
	testCalm  = "LOCKAUDIT_TEST_CALM"  // a duration
	testHush  = "LOCKAUDIT_TEST_HUSH"  // a duration: the agent's silence
	testSpeak = "LOCKAUDIT_TEST_SPEAK" // MIN-MAX of the protocol
)

func TestMain(m *testing.M) {
	if status, was := all.StandIn(); was {
		os.Exit(status)
	}
	role := os.Getenv(testRole)
	if role == "" {
		flag.Parse()
		// The tests mostly wait for others to die.
		_ = flag.Set("test.parallel", "8")
		goleak.VerifyTestMain(m)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, err := StateDir()
	switch {
	case err != nil:
	case len(os.Args) > 1 && os.Args[1] == "guard":
		o := GuardOptions{StateDir: dir, Faults: faults(), step: crashStep, calm: calmOf()}
		err = Guard(ctx, os.Stdin, os.Stdout, o)
	case role == "watch":
		watchClock()
	case role == "dialer":
		err = playDialer()
	case role == "server":
		err = playServer()
	case role == "auditor":
		err = playAuditor(dir)
	case len(os.Args) > 1 && os.Args[1] == "look":
		err = Look(ctx, os.Stdin, os.Stdout, LookOptions{Version: "test", StateDir: dir, Faults: faults(), Speaks: speaksOf()})
	default:
		hush, _ := time.ParseDuration(os.Getenv(testHush))
		err = Serve(ctx, os.Stdin, os.Stdout, Options{Version: "test", StateDir: dir, calm: calmOf(), silence: hush, Speaks: speaksOf()})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
}

func calmOf() time.Duration {
	d, _ := time.ParseDuration(os.Getenv(testCalm))
	return d
}

func speaksOf() Range {
	r, err := ParseRange(os.Getenv(testSpeak))
	if err != nil {
		panic(err)
	}
	return r
}

func crashStep(name string) {
	if once(testStop, name) {
		// To this very thread, which then goes no further; a signal to the process is
		// taken by any of them, and this one runs on until it hears of it.
		runtime.LockOSThread()
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
		runtime.UnlockOSThread()
	}
	if once(testCrash, name) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// once reports that a variable names this step, the first time.
func once(variable, name string) bool {
	step, marker, _ := strings.Cut(os.Getenv(variable), "=")
	if step != name {
		return false
	}
	f, err := os.OpenFile(marker, os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		f.Close()
	}
	return err == nil
}

func testCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// stateDir is outside t.TempDir, whose clean-up would race a guard that is killed last.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = newGroups(dir).sweep() // of agents that were killed for good
		os.RemoveAll(dir)
	})
	return dir
}

func testCommand(t *testing.T, dir string, wrap ...string) Command {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Command{Argv: append(wrap, exe), Env: []string{testRole + "=agent", "LOCKAUDIT_STATE=" + dir}}
}

func dial(t *testing.T, c Command) *Conn {
	t.Helper()
	cn, err := Dial(testCtx(t), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := grab(cn.hello.PID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		agent.signal(syscall.SIGCONT) // a test may have stopped it
		_ = cn.Close()
		agent.drop()
	})
	return cn
}

// grasp is a process for the end of a test, when it may have ended long ago and its
// number be another's.
type grasp struct{ pidfd int }

func grab(pid int) (grasp, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return grasp{fd}, err
}

func (g grasp) signal(s syscall.Signal) { _ = unix.PidfdSendSignal(g.pidfd, s, nil, 0) }
func (g grasp) ended() bool             { return exited(g.pidfd) }
func (g grasp) drop()                   { unix.Close(g.pidfd) }

// victim is a process to pause.
func victim(t testing.TB) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func pauseSpec(pid int, d time.Duration) inject.Spec {
	return inject.Spec{Kind: pause.Kind, For: d, Params: fmt.Appendf(nil, `{"pid":%d}`, pid)}
}

func mustInject(t *testing.T, c *Conn, pid int, d time.Duration) Fault {
	t.Helper()
	f, err := c.Inject(testCtx(t), pauseSpec(pid, d))
	if err != nil {
		t.Fatal(err)
	}
	if !stopped(pid) && rawNow() < f.Deadline {
		t.Fatal("after inject the target is not stopped")
	}
	return f
}

func stopped(pid int) bool {
	s, err := inject.ReadStat(pid)
	return err == nil && s.Stopped()
}

func gone(pid int) bool {
	s, err := inject.ReadStat(pid)
	return errors.Is(err, inject.ErrGone) || err == nil && s.Dead()
}

// hang is after what a state that was waited for does not come any more. A machine
// may stand still for long; who waits in vain has found a bug, and not often.
const hang = 2 * time.Minute

// within waits for a state.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if err := eventually(what, ok); err != nil {
		t.Fatal(err)
	}
}

// eventually looks often at first: the moment after a change is the one to test.
func eventually(what string, ok func() bool) error {
	pause := 500 * time.Microsecond
	for end := time.Now().Add(hang); !ok(); pause = min(pause*5/4, 20*time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s", hang, what)
		}
		time.Sleep(pause)
	}
	return nil
}

// mustHeal waits for a guard that is at its end.
func mustHeal(t *testing.T, dir string) (done []Recovered) {
	t.Helper()
	var err error
	within(t, "the state directory is free", func() bool {
		done, err = Heal(testCtx(t), dir, faults())
		return !errors.Is(err, ErrBusy)
	})
	if err != nil {
		t.Errorf("heal: %v", err)
	}
	return done
}

func journaled(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "faults"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

func wantNotice(t *testing.T, c *Conn, kind NoticeKind, id string) Notice {
	t.Helper()
	timeout := time.After(hang)
	for {
		select {
		case n, ok := <-c.Notices():
			if !ok {
				t.Fatalf("the connection ended without the notice %s of %s", kind, id)
			}
			if n.Kind == kind && (id == "" || n.FaultID == id) {
				return n
			}
		case <-timeout:
			t.Fatalf("no notice %s of %s within %v", kind, id, hang)
		}
	}
}
