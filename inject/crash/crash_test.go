package crash_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/target"
)

func newFault() inject.Fault { return crash.New(crash.Options{Commands: true}) }

// TestMain is also the standby, as every guard is, and the server that is killed.
func TestMain(m *testing.M) {
	if status, was := crash.StandIn(); was {
		os.Exit(status)
	}
	if len(os.Args) == 3 && os.Args[1] == "hold" {
		var p inject.Plan
		if err := json.Unmarshal([]byte(os.Args[2]), &p); err != nil {
			panic(err)
		}
		if _, err := newFault().Inject(context.Background(), p); err != nil {
			panic(err)
		}
		select {} // stopped and killed by the test
	}
	if len(os.Args) == 5 && os.Args[1] == "serve-leading" {
		if _, err := os.Stat(os.Args[4]); err == nil { // as long as it leads
			if _, err := net.Listen("tcp", os.Args[3]); err != nil {
				panic(err)
			}
		}
	}
	if len(os.Args) >= 3 && strings.HasPrefix(os.Args[1], "serve") {
		l, err := net.Listen("tcp", os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("serving")
		for {
			if c, err := l.Accept(); err == nil {
				_ = c.Close()
			}
		}
	}
	injecttest.Main(m, newFault)
}

func TestConformance(t *testing.T) {
	injecttest.Run(t, injecttest.Subject{New: newFault, Target: func(t *testing.T) injecttest.Target {
		s := startServer(t)
		return injecttest.Target{Params: s.params(time.Minute, nil), Snapshot: s.state, Remove: func() { s.kill(t) }}
	}, KernelUndoes: true}) // by its standby
}

func prepare(t *testing.T, f inject.Fault, s inject.Spec, id string) inject.Plan {
	t.Helper()
	p, err := f.Prepare(ctx(t), s)
	if err != nil {
		t.Fatal(err)
	}
	p.ID = fmt.Sprintf("%s-%d", id, os.Getpid()) // by which standbys are found, all over the machine
	return p
}

func TestRestartsAtOnce(t *testing.T) {
	s, f := startServer(t), newFault()
	before, old := s.state(), s.pid()
	p := prepare(t, f, s.spec(0, nil), "a")
	e, err := f.Inject(ctx(t), p)
	if err != nil || e.Since == 0 || !strings.Contains(e.Seen, fmt.Sprintf("process %d", old)) || !strings.Contains(e.Seen, "listening on "+s.addr) {
		t.Fatalf("inject: %+v, %v", e, err)
	}
	if s.state() != before || s.pid() == old || !strings.Contains(e.Seen, fmt.Sprintf("runs as process %d", s.pid())) {
		t.Errorf("%q: process %d, before %d:\n%s\nwas\n%s", e.Seen, s.pid(), old, s.state(), before)
	}
	now := s.pid()
	if e, err := f.Revert(ctx(t), p); err != nil || e.Count != 1 || s.pid() != now {
		t.Errorf("revert: %+v, %v; process %d, was %d", e, err, s.pid(), now)
	}
}

func TestStaysDownForItsTime(t *testing.T) {
	s, f := startServer(t), newFault()
	before := s.state()
	p := prepare(t, f, s.spec(300*time.Millisecond, nil), "a")
	began := inject.Now() // its standby has the time from a moment before the kill on
	e, err := f.Inject(ctx(t), p)
	if err != nil {
		t.Fatal(err)
	}
	if now := s.state(); now != "down" && inject.Now()-began < 300*time.Millisecond {
		t.Fatalf("inject: %+v; %s", e, now)
	}
	await(t, "the server runs again without an order", func() bool { return s.state() == before })
	if up := inject.Now(); up-began < 300*time.Millisecond {
		t.Errorf("it was down for %v only", up-began)
	}
	if _, err := f.Revert(ctx(t), p); err != nil || s.state() != before {
		t.Errorf("revert: %v; %s", err, s.state())
	}
}

// TestNeverTwoServers: whoever starts it meanwhile, nobody else does.
func TestNeverTwoServers(t *testing.T) {
	s, f := startServer(t), newFault()
	p := prepare(t, f, s.spec(time.Minute, nil), "a")
	if _, err := f.Inject(ctx(t), p); err != nil {
		t.Fatal(err)
	}
	s.run(t, exec.Command(s.exe, "serve", s.addr)) // an operator, by hand
	mine := s.pid()
	for i, g := range []inject.Fault{newFault(), f, newFault()} {
		if e, err := g.Revert(ctx(t), p); err != nil || !strings.Contains(e.Seen, fmt.Sprintf("runs as process %d", mine)) {
			t.Errorf("revert %d: %+v, %v, want process %d", i, e, err, mine)
		}
	}
	if n := running(t, s.addr); n != 1 {
		t.Errorf("%d servers run", n)
	}
	if b, err := os.ReadFile(s.log); err != nil || strings.Count(string(b), "\n") != 2 {
		t.Errorf("the log has other lines than those of two starts: %q, %v", b, err)
	}
}

// running counts the processes with the server's command line.
func running(t *testing.T, addr string) int {
	t.Helper()
	files, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if b, err := os.ReadFile("/proc/" + f.Name() + "/cmdline"); err == nil && strings.HasSuffix(string(b), "\x00serve\x00"+addr+"\x00") {
			n++
		}
	}
	return n
}

func TestRefuses(t *testing.T) {
	s := startServer(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	with := func(r crash.Restart) json.RawMessage { return s.params(0, &r) }
	for name, c := range map[string]struct {
		params json.RawMessage
		want   string
	}{
		"init":              {json.RawMessage(`{"target":{"pid":1}}`), "is init"},
		"the agent":         {json.RawMessage(fmt.Sprintf(`{"target":{"pid":%d}}`, os.Getpid())), "ancestor"},
		"its parent":        {json.RawMessage(fmt.Sprintf(`{"target":{"pid":%d}}`, os.Getppid())), "ancestor"},
		"nothing":           {json.RawMessage(`{"target":{}}`), "nothing is named"},
		"down too long":     {s.params(2*time.Minute, nil), "not between 0 and the deadline"},
		"no such command":   {with(crash.Restart{Argv: []string{"/no/such"}}), "no executable file"},
		"not on the path":   {with(crash.Restart{Argv: []string{"no-such"}}), "looked at /usr/local/sbin/no-such"},
		"relative command":  {with(crash.Restart{Argv: []string{"./server"}}), "neither an absolute path nor a name"},
		"empty command":     {with(crash.Restart{}), "argv is empty"},
		"bad environment":   {with(crash.Restart{Argv: []string{exe}, Env: []string{"A B"}}), "not NAME=value"},
		"relative log":      {with(crash.Restart{Argv: []string{exe}, Log: "log"}), "not an absolute path"},
		"relative dir":      {with(crash.Restart{Argv: []string{exe}, Dir: "."}), "not an absolute path"},
		"unknown parameter": {json.RawMessage(`{"target":{"pid":1},"x":1}`), "unknown field"},
	} {
		sp := inject.Spec{Kind: crash.Kind, For: time.Minute, Params: c.params}
		if _, err := newFault().Prepare(ctx(t), sp); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// A command from an order needs the permission of whoever started the agent.
	f := crash.New(crash.Options{})
	if _, err := f.Prepare(ctx(t), s.spec(0, &crash.Restart{Argv: []string{exe}})); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("a restart command without permission: %v", err)
	}
	if _, err := f.Prepare(ctx(t), s.spec(0, nil)); err != nil {
		t.Errorf("without a restart command: %v", err)
	}
}

// TestUserNamespace: a server in a user namespace of its own would be started outside of
// it, unless a command is named, whose affair that is.
func TestUserNamespace(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, exe)
	cmd := exec.Command(exe, "serve", s.addr)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getegid(), Size: 1}},
	}
	s.run(t, cmd)
	f := newFault()
	if _, err := f.Prepare(ctx(t), s.spec(0, nil)); !errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), "another user namespace") {
		t.Errorf("without a command: %v", err)
	}
	old := s.pid()
	p := prepare(t, f, s.spec(0, &crash.Restart{Argv: []string{exe, "serve", s.addr}}), "a")
	if e, err := f.Inject(ctx(t), p); err != nil || s.pid() == old || s.pid() == 0 {
		t.Errorf("inject: %+v, %v; process %d, was %d", e, err, s.pid(), old)
	}
	if _, err := f.Revert(ctx(t), p); err != nil {
		t.Errorf("revert: %v", err)
	}
}

// TestRefusesNames: an ordinary program under a name that is protected.
func TestRefusesNames(t *testing.T) {
	for _, name := range []string{"sshd", "containerd-shim", "kubelet", "systemd-journal", "lockaudit-standby"} {
		path := filepath.Join(t.TempDir(), name)
		b, err := os.ReadFile("/bin/sleep")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		params := json.RawMessage(fmt.Sprintf(`{"target":{"pid":%d}}`, cmd.Process.Pid))
		await(t, "it has its name", func() bool {
			s, err := inject.ReadStat(cmd.Process.Pid)
			return err == nil && s.Comm == name[:min(len(name), 15)]
		})
		_, err = newFault().Prepare(ctx(t), inject.Spec{Kind: crash.Kind, For: time.Minute, Params: params})
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if !errors.Is(err, inject.ErrRefused) {
			t.Errorf("%s: %v, want %v", name, err, inject.ErrRefused)
		}
	}
}

// TestServerThatDoesNotComeUp: the failure is told, and another revert may succeed.
func TestServerThatDoesNotComeUp(t *testing.T) {
	s, f := startServer(t), newFault()
	before := s.state()
	p := prepare(t, f, s.spec(time.Minute, nil), "a")
	if _, err := f.Inject(ctx(t), p); err != nil {
		t.Fatal(err)
	}
	// Its port is taken, by somebody who is not it.
	thief, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := f.Revert(ctx(t), p); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("revert while the port is taken: %+v, %v", e, err)
	}
	if err := thief.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Revert(ctx(t), p); err != nil || s.state() != before {
		t.Errorf("revert again: %v; %s", err, s.state())
	}
}

// TestStoppedGuard: the standby has the time of its own.
func TestStoppedGuard(t *testing.T) {
	s := startServer(t)
	before := s.state()
	for down, late := time.Second, true; late; down *= 3 { // a slow machine needs longer
		old := s.pid()
		p := prepare(t, newFault(), s.spec(down, nil), "b")
		// The holder is stopped as soon as the server is dead. Nobody gives an order.
		holder := exec.Command(s.exe, "hold", string(marshal(t, p)))
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, "the server is dead", func() bool { return s.pid() != old })
		if err := holder.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		late = s.state() != "down"
		await(t, "the server runs although its guard is stopped", func() bool { return s.state() == before })
		_ = holder.Process.Kill()
		_ = holder.Wait()
	}
	if n := running(t, s.addr); n != 1 {
		t.Errorf("%d servers run", n)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStandbyOfAnotherGoesFirst: as long as one is there that may start the server,
// nobody else starts one.
func TestStandbyOfAnotherGoesFirst(t *testing.T) {
	s, f := startServer(t), newFault()
	before := s.state()
	p := prepare(t, f, s.spec(time.Minute, nil), "of-another")
	if _, err := f.Inject(ctx(t), p); err != nil {
		t.Fatal(err)
	}
	standby, err := target.Resolve(ctx(t), target.Selector{Cmdline: target.Cmdline{Args: []string{"lockaudit-standby", p.ID}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(standby.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx(t), 2*time.Second)
	defer cancel()
	if e, err := newFault().Revert(short, p); err == nil || !strings.Contains(err.Error(), "does not start the server") || s.state() != "down" {
		t.Errorf("revert beside a standby that hangs: %+v, %v; %s", e, err, s.state())
	}
	if err := syscall.Kill(standby.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// It had been told to go.
	await(t, "the standby has become the server", func() bool { return s.state() == before })
	if e, err := newFault().Revert(ctx(t), p); err != nil || s.pid() != standby.PID || running(t, s.addr) != 1 {
		t.Errorf("revert: %+v, %v; process %d, the standby was %d", e, err, s.pid(), standby.PID)
	}
	if _, err := f.Revert(ctx(t), p); err != nil {
		t.Error(err)
	}
}
