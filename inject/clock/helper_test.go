package clock_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// goClocks makes this test binary a Go program that speaks as testdata/clocks.c does.
const goClocks = "LOCKAUDIT_TEST_CLOCKS"

func TestMain(m *testing.M) {
	if servers.Child() {
		return
	}
	if os.Getenv(goClocks) != "" {
		tellTime(os.Stdin, os.Stdout)
		return
	}
	if os.Getenv(injector) != "" {
		injectForEver()
		return
	}
	if pid, err := strconv.Atoi(os.Getenv(tracerOf)); err == nil {
		trace(pid)
		return
	}
	injecttest.Main(m, func() inject.Fault { return clock.New() })
}

func tellTime(in io.Reader, out io.Writer) {
	start := time.Now()
	tell := func() {
		now := time.Now()
		fmt.Fprintln(out, now.UnixNano(), now.Sub(start).Nanoseconds(), now.UnixMicro(), now.Unix())
	}
	tell()
	for b := make([]byte, 1); ; {
		if _, err := in.Read(b); err != nil {
			return
		}
		tell()
	}
}

// program is a running one of testdata/clocks.c or of its kind.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
	// child is the program where the command is one that only starts it.
	child int
}

func (p *program) pid() int {
	if p.child != 0 {
		return p.child
	}
	return p.cmd.Process.Pid
}

// reading is what a program said, and when it was asked.
type reading struct {
	realtime, monotonic, timeofday, time time.Duration
}

// wrong is how far the program's wall clock is ahead of ours, in whole seconds: a busy
// machine may take its time over a question.
func (p *program) wrong() time.Duration { return p.ask('r').wrong() }

func (r reading) wrong() time.Duration {
	return (r.realtime - time.Duration(time.Now().UnixNano())).Round(time.Second)
}

// ask gives one command and reads the answer.
func (p *program) ask(command byte) reading {
	p.t.Helper()
	if _, err := p.in.Write([]byte{command}); err != nil {
		p.t.Fatalf("ask %c: %v", command, err)
	}
	return p.answer()
}

func (p *program) answer() reading {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the program says %q: %v", line, err)
	}
	f := strings.Fields(line)
	var n [4]int64
	for i := range n {
		if i >= len(f) {
			p.t.Fatalf("the program says %q", line)
		}
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			p.t.Fatalf("the program says %q", line)
		}
	}
	return reading{time.Duration(n[0]), time.Duration(n[1]), time.Duration(n[2]) * time.Microsecond, time.Duration(n[3]) * time.Second}
}

// start runs a program and waits for its first words.
func start(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(p.kill)
	p.answer()
	return p
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// alive fails the test if the program has ended.
func (p *program) alive() {
	p.t.Helper()
	if s, err := inject.ReadStat(p.pid()); err != nil || s.Dead() {
		p.t.Fatalf("the target died: %v", err)
	}
}

var builds sync.Map // what was compiled already, by flags

// inC compiles testdata/clocks.c once per set of flags.
func inC(t *testing.T, flags ...string) string {
	t.Helper()
	build, _ := builds.LoadOrStore(strings.Join(flags, " "), sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "lockaudit-clocks-")
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, "clocks")
		out, err := exec.Command("gcc", append(append([]string{"-O2", "-pthread"}, flags...), "-o", path, "testdata/clocks.c")...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("compile testdata/clocks.c (apt-get install gcc libc6-dev): %w: %s", err, out)
		}
		return path, nil
	}))
	path, err := build.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startC runs the program with that many busy threads.
func startC(t *testing.T, args ...string) *program {
	t.Helper()
	return start(t, exec.Command(inC(t), args...))
}

func order(pid int, d time.Duration, s clock.Skew) inject.Spec {
	b, err := json.Marshal(clock.Params{Target: target.Selector{PID: pid}, Skew: s})
	if err != nil {
		panic(err)
	}
	return inject.Spec{Kind: clock.Kind, For: d, Params: b}
}

// hang is after what something that was waited for does not happen any more.
const hang = 3 * time.Minute

func ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

// skewed puts a skew into effect; it is reverted at the end of the test at the latest.
func skewed(t *testing.T, f *clock.Fault, s inject.Spec, id string) inject.Plan {
	t.Helper()
	p, err := f.Prepare(ctx(t), s)
	if err != nil {
		t.Fatal(err)
	}
	p.ID = id
	if _, err := f.Inject(ctx(t), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func revert(t *testing.T, f *clock.Fault, p inject.Plan) inject.Effect {
	t.Helper()
	e, err := f.Revert(ctx(t), p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, hang)
		}
	}
}

// signal asks a forked child, and returns how wrong its clock is.
func (p *program) signal(pid int) time.Duration {
	p.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		p.t.Fatal(err)
	}
	return p.answer().wrong()
}
