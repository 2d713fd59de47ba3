package agent

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent/sshtest"
)

// sshCommand is an agent, this program, behind a real ssh.
func sshCommand(t *testing.T, m *sshtest.Machine, name, dir string, then ...string) Command {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	then = append(then, "env", testRole+"=agent", testHush+"="+hush, "LOCKAUDIT_STATE="+dir, exe)
	return Command{Argv: m.Via(name, then...)}
}

// sshVictim is a process of the machine, by its pid there, and whether it is stopped.
func sshVictim(t *testing.T, m *sshtest.Machine) (pid int, stopped func() bool) {
	t.Helper()
	cmd := m.Inside("sh", "-c", "echo $$; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() }) // the process itself ends with the machine
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return pid, func() bool {
		b, err := os.ReadFile(m.Proc(pid, "stat"))
		return err == nil && strings.Contains(string(b), ") T ")
	}
}

// sshInject pauses a process of the machine for an hour.
func sshInject(t *testing.T, c *Conn, pid int, stopped func() bool) Fault {
	t.Helper()
	f, err := c.Inject(testCtx(t), pauseSpec(pid, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !stopped() {
		t.Fatal("after inject the target is not stopped")
	}
	return f
}

// TestSSH: an agent behind a real sshd, and each way to lose it in the middle of a fault.
// Whichever it is, the fault ends long before its deadline, and the auditor does not say
// that it was reverted: it has not looked.
func TestSSH(t *testing.T) {
	t.Parallel()
	m := sshtest.Start(t)
	target, stopped := sshVictim(t, m)
	dialSSH := func(dir string) *Conn {
		t.Helper()
		var c *Conn
		var err error
		within(t, "the state directory is free", func() bool { // the last agent may still be ending
			c, err = Dial(testCtx(t), sshCommand(t, m, sshtest.Root, dir), nil)
			var u *Unreached
			return err == nil || !errors.As(err, &u) || u.Trouble != TroubleBusy
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dir := stateDir(t)

	t.Run("in order", func(t *testing.T) {
		c := dialSSH(dir)
		if h := c.Hello(); h.Hostname != "app-a" || h.UID != 0 || h.Version != Version {
			t.Errorf("hello: %+v", h)
		}
		o, err := c.Clock(testCtx(t))
		// One kernel has one clock: what is measured must say so, within what it claims.
		if err != nil || o.Ahead.Abs() > o.Error || o.Error <= 0 || o.Error > o.RoundTrip {
			t.Errorf("clock: %+v, %v", o, err)
		}
		f := sshInject(t, c, target, stopped)
		at, ok := o.Local(f.InjectedAt)
		if since := time.Since(at); !ok || since < -o.Error || since > hang {
			t.Errorf("injected %v ago, %v", since, ok)
		}
		if _, err := c.Revert(testCtx(t), f.ID); err != nil || stopped() {
			t.Errorf("revert: %v, stopped: %v", err, stopped())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})

	ways := []struct {
		name string
		lose func(*Conn)
	}{
		{"ssh is killed", func(c *Conn) { _ = c.cmd.Process.Kill() }},
		{"sshd's child is killed", func(*Conn) { m.EndSessions(t) }},
		{"packets vanish", func(*Conn) { m.Cut(t) }},
		{"the auditor is silent", func(c *Conn) { c.rest() }},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			c := dialSSH(dir)
			f := sshInject(t, c, target, stopped)
			way.lose(c)
			within(t, "the target runs", func() bool { return !stopped() })
			<-c.Lost()
			if way.name == "packets vanish" {
				m.Heal(t)
			}
			if way.name != "the auditor is silent" { // that one was told
				if ids := c.Unconfirmed(); len(ids) != 1 || ids[0] != f.ID {
					t.Errorf("unconfirmed: %v, want %s", ids, f.ID)
				}
			}
			again := dialSSH(dir)
			if left := journaled(t, dir); len(left) != 0 {
				t.Errorf("journal: %v", left)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSSHTroubles: what keeps an agent from being reached is recognised in what the real
// programs say, soon, though they would ask somebody. The limit is for a machine that
// stands still; who hangs reaches it.
func TestSSHTroubles(t *testing.T) {
	t.Parallel()
	m := sshtest.Start(t)
	plain := func(name string, then ...string) Command { return Command{Argv: m.Via(name, then...)} }
	tests := []struct {
		name string
		c    Command
		want Trouble
	}{
		{"no such program here", Command{Argv: []string{"no-such-ssh", "app-a"}}, TroubleCommand},
		{"unknown host", plain(sshtest.Nowhere, "lockaudit-agent"), TroubleName},
		{"nobody listens", plain(sshtest.Deaf, "lockaudit-agent"), TroubleConnect},
		{"unknown host key", plain(sshtest.Stranger, "lockaudit-agent"), TroubleHostKey},
		{"changed host key", plain(sshtest.Changed, "lockaudit-agent"), TroubleHostKey},
		{"ssh asks for a password", plain(sshtest.Password, "lockaudit-agent"), TroubleLogin},
		{"wrong user", plain(sshtest.WrongUser, "lockaudit-agent"), TroubleLogin},
		{"sudo asks for a password", plain(sshtest.Asking, "sudo", "lockaudit-agent"), TroubleSudo},
		{"sudo does not permit it", plain(sshtest.Limited, "sudo", "/bin/true"), TroubleSudo},
		{"no agent", plain(sshtest.Good, "lockaudit-agent"), TroubleMissing},
		{"no agent, through sudo", plain(sshtest.Good, "sudo", "lockaudit-agent"), TroubleMissing},
		{"no agent at that path", plain(sshtest.Good, "sudo", "/opt/lockaudit-agent"), TroubleMissing},
		{"an agent that cannot be run", plain(sshtest.Good, "/etc/passwd"), TroubleExec},
		{"a greeting on stdout", plain(sshtest.Good, "echo", "welcome;", "sleep", "1000"), TroubleNoise},
		{"no answer", plain(sshtest.Good, "sleep", "1000"), TroubleSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), hang)
			if tt.want == TroubleSilent {
				ctx, cancel = context.WithTimeout(context.Background(), time.Second)
			}
			defer cancel()
			c, err := Dial(ctx, tt.c, nil)
			if err == nil {
				_ = c.Close()
				t.Fatal("reached")
			}
			var u *Unreached
			if !errors.As(err, &u) || u.Trouble != tt.want {
				t.Errorf("%q is %+v, want trouble %q", err, u, tt.want)
			}
			if tt.want != TroubleSilent && ctx.Err() != nil {
				t.Error("it hung")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}
