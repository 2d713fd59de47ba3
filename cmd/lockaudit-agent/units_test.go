package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

// The units of deploy/systemd, under a real systemd.
const (
	installed   = "/usr/local/bin/lockaudit-agent" // in the units
	unitFaults  = "/run/lockaudit-agent/faults"
	socketUnit  = "lockaudit-agent.socket"
	serviceUnit = "lockaudit-agent@.service"
	healUnit    = "lockaudit-heal.service"
	// envExe is the agent's program, for the copy of the test inside the machine.
	envExe = "UNITS_TEST_EXE"
)

// program is the agent as it is shipped, built once and outside of the machine.
func program(t *testing.T) string {
	t.Helper()
	exe := os.Getenv(envExe)
	if exe == "" {
		exe = build(t)
		t.Setenv(envExe, exe)
	}
	return exe
}

// unit is a unit file with the program where the test has it, and nothing else changed but
// what replace says, in pairs.
func unit(t *testing.T, name, exe string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy/systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(s, replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
		s = strings.ReplaceAll(s, replace[i], replace[i+1])
	}
	return strings.ReplaceAll(s, installed, exe)
}

// TestUnitsVerify asks systemd-analyze, which must have nothing to say, and holds the exposure
// that systemd computes where it is: an option that is added or lost shows.
func TestUnitsVerify(t *testing.T) {
	exe, dir := program(t), t.TempDir()
	var paths []string
	for _, name := range []string{socketUnit, serviceUnit, healUnit} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(unit(t, name, exe)), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	if out, err := exec.Command("systemd-analyze", append([]string{"verify"}, paths...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=87", "--no-pager", paths[1]).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
	for _, dropped := range []string{"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_BOOT", "CAP_AUDIT_*", "CAP_MAC_*"} {
		if !strings.Contains(string(out), "✓ CapabilityBoundingSet=~"+dropped) {
			t.Errorf("security: %s is not dropped", dropped)
		}
	}
}

// machine is one with the units.
type machine struct {
	t   *testing.T
	m   *systemdtest.Machine
	exe string
}

func newMachine(t *testing.T, m *systemdtest.Machine, exe string, replace ...string) machine {
	t.Helper()
	for _, dir := range []string{"/var/lib", "/var/log"} { // the disk is read-only here
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	m.Write(t, serviceUnit, unit(t, serviceUnit, exe, replace...))
	m.Write(t, healUnit, unit(t, healUnit, exe))
	m.Start(t, socketUnit, unit(t, socketUnit, exe))
	return machine{t, m, exe}
}

func ctx60(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (n machine) dial(env ...string) *agent.Conn {
	n.t.Helper()
	c, err := agent.Dial(ctx60(n.t), agent.Command{Argv: []string{n.exe, "connect"}, Env: env}, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

// victim is a process of another user.
func victim(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd.Process.Pid
}

func stopped(pid int) bool {
	s, err := inject.ReadStat(pid)
	return err == nil && s.Stopped()
}

func gone(pid int) bool {
	s, err := inject.ReadStat(pid)
	return errors.Is(err, inject.ErrGone) || err == nil && s.Dead()
}

func (n machine) within(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("not within 2 minutes: %s", what)
		}
	}
}

// journal is empty when something has reverted and read back.
func (n machine) journalEmpty() bool {
	files, err := os.ReadDir(unitFaults)
	return err == nil && len(files) == 0
}

// instances are the units of connections that still exist.
func (n machine) instances() []string {
	n.t.Helper()
	units, err := n.m.Conn.ListUnitsByPatternsContext(ctx60(n.t), nil, []string{"lockaudit-agent@*.service"})
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, u := range units {
		out = append(out, u.Name+" "+u.ActiveState)
	}
	return out
}

func (n machine) pause(c *agent.Conn, pid int) agent.Fault {
	n.t.Helper()
	f, err := c.Inject(ctx60(n.t), inject.Spec{Kind: "pause", For: time.Hour, Params: fmt.Appendf(nil, `{"pid":%d}`, pid)})
	if err != nil {
		n.t.Fatal(err)
	}
	if !stopped(pid) {
		n.t.Fatal("after inject the target is not stopped")
	}
	return f
}

// cut is a partition in a namespace of its own.
func (n machine) cut(c *agent.Conn) {
	n.t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	params := fmt.Appendf(nil, `{"peers":["10.99.0.2"],"netns":"/proc/%d/ns/net"}`, cmd.Process.Pid)
	if _, err := c.Inject(ctx60(n.t), inject.Spec{Kind: "partition", For: time.Hour, Params: params}); err != nil {
		n.t.Fatal(err)
	}
}

// TestUnitAgent is an audit through the socket: it works with the capabilities of the unit,
// and its end leaves nothing.
func TestUnitAgent(t *testing.T) {
	exe := program(t)
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		n := newMachine(t, m, exe)
		pid := victim(t)
		c := n.dial("SSH_CONNECTION=10.99.0.2 40000 10.99.0.1 22", "SUDO_USER=alice")
		h := c.Hello()
		if s, err := inject.ReadStat(h.PID); err != nil || s.PPID != 1 || h.UID != 0 || h.StateDir != filepath.Dir(unitFaults) {
			t.Errorf("hello %+v, process %+v, %v", h, s, err)
		}
		n.pause(c, pid)
		n.cut(c)
		if err := locked(h.GuardPID); err != nil {
			t.Error(err)
		}
		if p, err := c.Start(ctx60(t), agent.ProcSpec{Name: "a", Argv: []string{"sleep", "1000"}}); err != nil {
			t.Errorf("start a client: %v", err)
		} else if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID)); err != nil || !strings.Contains(string(b), "CapBnd:\t0000000000000000") || !strings.Contains(string(b), "Uid:\t65534") {
			t.Errorf("the client's status: %v\n%s", err, b)
		}
		// Whoever is at the other end of the socket is the way to the agent.
		p, err := c.Prepare(ctx60(t), inject.Spec{Kind: "partition", For: time.Second, Params: []byte(`{"peers":["10.99.0.0/24"]}`)})
		if err != nil || !strings.Contains(strings.Join(p.Objects, "\n"), "connection from 10.99.0.2:40000 to port 22") {
			t.Errorf("prepare: %q, %v", p.Objects, err)
		}
		if _, err := c.Prepare(ctx60(t), inject.Spec{Kind: "pause", For: time.Second, Params: fmt.Appendf(nil, `{"pid":%d}`, os.Getpid())}); !errors.Is(err, inject.ErrRefused) {
			t.Errorf("pause of the caller's parent: %v, want %v", err, inject.ErrRefused)
		}
		// A second agent leaves the first alone, as does its ExecStopPost.
		if _, err := agent.Dial(ctx60(t), agent.Command{Argv: []string{exe, "connect"}}, nil); err == nil || !strings.Contains(err.Error(), "another one may be at work") {
			t.Errorf("second connection: %v", err)
		}
		n.within("the second one's unit is gone", func() bool { return len(n.instances()) == 1 })
		if !stopped(pid) || n.journalEmpty() {
			t.Error("the second connection ended the first one's unitFaults")
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if stopped(pid) || !n.journalEmpty() {
			t.Error("after the end of the orders a fault is in effect")
		}
		n.within("no unit is left", func() bool { return len(n.instances()) == 0 })
	})
}

// TestUnitHeals: whatever ends the agent, the unit has nothing remain.
func TestUnitHeals(t *testing.T) {
	exe := program(t)
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		n := newMachine(t, m, exe, "WatchdogSec=20s", "WatchdogSec=3s")
		for _, x := range []struct {
			name string
			hit  func(agent.Hello)
		}{
			// The guard first, or it might still revert in order.
			{"kill -9 both", func(h agent.Hello) { send(h.GuardPID, syscall.SIGKILL); send(h.PID, syscall.SIGKILL) }},
			{"kill -9 agent", func(h agent.Hello) { send(h.PID, syscall.SIGKILL) }},
			{"both stopped", func(h agent.Hello) { send(h.PID, syscall.SIGSTOP); send(h.GuardPID, syscall.SIGSTOP) }},
			{"guard stopped", func(h agent.Hello) { send(h.GuardPID, syscall.SIGSTOP) }},
			{"agent stopped", func(h agent.Hello) { send(h.PID, syscall.SIGSTOP) }},
			{"systemctl stop", func(agent.Hello) {
				for _, u := range n.instances() {
					name, _, _ := strings.Cut(u, " ")
					if _, err := m.Conn.StopUnitContext(ctx60(t), name, "replace", nil); err != nil {
						t.Error(err)
					}
				}
			}},
		} {
			pid := victim(t)
			c := n.dial()
			h := c.Hello()
			n.pause(c, pid)
			n.cut(c)
			x.hit(h)
			n.within(x.name+": the target runs", func() bool { return !stopped(pid) })
			n.within(x.name+": agent and guard are gone", func() bool { return gone(h.PID) && gone(h.GuardPID) })
			n.within(x.name+": heal has looked, and left nothing", n.journalEmpty)
			n.within(x.name+": the unit is gone", func() bool { return len(n.instances()) == 0 })
			if _, err := c.Faults(ctx60(t)); err == nil || strings.Contains(err.Error(), "decode") {
				t.Errorf("%s: the connection ended with %v", x.name, err)
			}
			_ = c.Close() // its error is that the agent was lost
		}
		// At boot: what is left in the journal is of another life.
		left := filepath.Join(unitFaults, "000000000001.json")
		entry := `{"version":1,"plan":{"id":"000000000001","spec":{"kind":"pause","for":1,"params":{}},"boot_id":"another","objects":[],"undo":{}}}`
		if err := os.WriteFile(left, []byte(entry), 0o600); err != nil {
			t.Fatal(err)
		}
		m.Start(t, healUnit, unit(t, healUnit, exe))
		if !n.journalEmpty() {
			t.Error("lockaudit-heal.service left the journal as it was")
		}
	})
}

func send(pid int, s syscall.Signal) { _ = syscall.Kill(pid, s) }
