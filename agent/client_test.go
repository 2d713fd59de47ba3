package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

func start(t *testing.T, c *Conn, name string, argv ...string) *Proc {
	t.Helper()
	p, err := c.Start(testCtx(t), ProcSpec{Name: name, Argv: argv, Env: []string{"GREETING=hello"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClient(t *testing.T) {
	c := dial(t, testCommand(t, stateDir(t)))
	p := start(t, c, "a", "sh", "-c", `echo "$GREETING $PWD"; cat; echo bye >&2; exit 7`)
	if s, err := inject.ReadStat(p.PID); err != nil || s.StartTime != p.StartTime {
		t.Errorf("start time %d, process %+v, %v", p.StartTime, s, err)
	}
	const said = "line one\nbytes \xff\xfe\x00\n"
	if _, err := io.WriteString(p.Stdin(), said); err != nil {
		t.Fatal(err)
	}
	if err := p.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(p.Stdout())
	if want := "hello /\n" + said; err != nil || string(out) != want {
		t.Errorf("stdout %q, %v, want %q", out, err, want)
	}
	<-p.Done()
	if p.Exit() != "exit status 7" {
		t.Errorf("exit %q", p.Exit())
	}
	within(t, "its log is there", func() bool {
		b, _ := io.ReadAll(p.Stderr())
		return string(b) == "bye\n"
	})
	if err := p.Kill(testCtx(t)); err != nil {
		t.Errorf("kill after the end: %v", err)
	}
	for _, argv := range [][]string{{"no-such-program"}, {"/etc/passwd"}, {"/"}, nil} {
		if _, err := c.Start(testCtx(t), ProcSpec{Name: "b", Argv: argv}); err == nil {
			t.Errorf("start %q: no error", argv)
		}
	}
	if _, err := c.Start(testCtx(t), ProcSpec{Name: "../x", Argv: []string{"sh"}}); err == nil {
		t.Error("start under a name with a slash: no error")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestClientHasNoPrivileges looks at what the kernel says of the client, as root
// of the machine and as root of a user namespace that maps nobody else.
func TestClientHasNoPrivileges(t *testing.T) {
	for name, wrap := range map[string][]string{"as we are": nil, "in a user namespace": {"unshare", "--user", "--map-root-user"}} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, testCommand(t, stateDir(t), wrap...))
			p := start(t, c, "a", "sleep", "1000")
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"}
			if os.Geteuid() == 0 && wrap == nil {
				want = append(want, "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "CapBnd:\t0000000000000000")
			}
			for _, w := range want {
				if !strings.Contains(string(b), w) {
					t.Errorf("status lacks %q:\n%s", w, b)
				}
			}
			// What runs so can still be paused, and the kernel resumes it.
			mustInject(t, c, p.PID, time.Hour)
			kill(c.Hello().GuardPID, syscall.SIGKILL)
			within(t, "the client runs", func() bool { return !stopped(p.PID) })
		})
	}
}

// TestProgramBehindClosedDirectory: a clone under a private home.
func TestProgramBehindClosedDirectory(t *testing.T) {
	dir := filepath.Join(stateDir(t), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/bin/echo")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/say", b, 0o755); err != nil {
		t.Fatal(err)
	}
	c := dial(t, testCommand(t, stateDir(t)))
	out, err := io.ReadAll(start(t, c, "a", dir+"/say", "it runs").Stdout())
	if err != nil || string(out) != "it runs\n" {
		t.Errorf("stdout %q, %v", out, err)
	}
}

// TestGarbage: a client that prints without end, and is not read, neither fills
// the agent's memory nor delays its answers; what it printed is not lost.
func TestGarbage(t *testing.T) {
	c := dial(t, testCommand(t, stateDir(t)))
	loud := start(t, c, "loud", "sh", "-c", "cat /dev/zero & cat /dev/zero >&2")
	within(t, "the window is full", func() bool {
		loud.out.mu.Lock()
		defer loud.out.mu.Unlock()
		return loud.out.buf.Len() == window
	})
	quiet := start(t, c, "quiet", "cat")
	if _, err := io.WriteString(quiet.Stdin(), "still there\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(quiet.Stdout()).ReadString('\n')
	if err != nil || line != "still there\n" {
		t.Errorf("answer %q, %v", line, err)
	}
	if n, err := io.CopyN(io.Discard, loud.Stdout(), 8*window); err != nil {
		t.Errorf("read on after %d bytes: %v", n, err)
	}
	loud.out.mu.Lock()
	if n := loud.out.buf.Cap(); n > 4*window {
		t.Errorf("the auditor holds %d bytes", n)
	}
	loud.out.mu.Unlock()
	if kib := residentKiB(t, c.Hello().PID); kib > 512<<10 { // far less without the race detector, a multiple within a second without the window
		t.Errorf("the agent takes %d KiB", kib)
	}
	if err := loud.Kill(testCtx(t)); err != nil || loud.Exit() != "signal: killed" {
		t.Errorf("kill: %v, %q", err, loud.Exit())
	}
	if _, err := io.WriteString(loud.Stdin(), "x"); err == nil {
		t.Error("write to a dead client: no error")
	}
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestClientEndsWithAgent: also a stopped one, and what it started.
func TestClientEndsWithAgent(t *testing.T) {
	for name, end := range map[string]func(*Conn){
		"end of orders": func(c *Conn) { _ = c.Close() },
		"kill -9 agent": func(c *Conn) { kill(c.Hello().PID, syscall.SIGKILL) },
		"kill -9 both":  func(c *Conn) { kill(c.Hello().GuardPID, syscall.SIGKILL); kill(c.Hello().PID, syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, testCommand(t, stateDir(t)))
			// The kernel sends SIGHUP to a stopped group that is orphaned; that must not
			// be what ends it.
			p := start(t, c, "a", "sh", "-c", "trap '' HUP; sleep 1000 & echo $!; wait")
			var child int
			if _, err := fmt.Fscan(p.Stdout(), &child); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { kill(child, syscall.SIGKILL) })
			mustInject(t, c, p.PID, time.Hour)
			end(c)
			within(t, "the client is gone", func() bool { return gone(p.PID) })
			if name != "kill -9 both" { // then only the kernel is left, which knows no groups
				within(t, "its child is gone", func() bool { return gone(child) })
			}
			<-p.Done()
			if p.Exit() == "" {
				t.Error("no exit")
			}
			if err := c.Close(); name == "end of orders" && err != nil || name != "end of orders" && !errors.Is(err, ErrRevertFailed) {
				t.Errorf("close: %v", err)
			}
		})
	}
}
