package systemdtest

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/vishvananda/netlink"
)

// Machine is the running systemd, seen from inside.
type Machine struct {
	// Conn is a connection by the private socket; Run closes it.
	Conn *dbus.Conn
}

func connect(t *testing.T) *Machine {
	t.Helper()
	m := &Machine{}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("set up loopback: %v", err)
	}
	await(t, "systemd has started", func() bool {
		c, err := dbus.NewSystemdConnectionContext(t.Context())
		if err != nil {
			return false
		}
		state, err := c.SystemStateContext(t.Context())
		if err != nil || state.Value.Value() != "running" {
			c.Close()
			return false
		}
		m.Conn = c
		return true
	})
	t.Cleanup(m.Conn.Close)
	return m
}

// Write writes a unit file and has systemd read it.
func (m *Machine) Write(t *testing.T, unit, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/run/units", unit), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := m.Conn.ReloadContext(ctx); err != nil {
		t.Fatalf("reload systemd: %v", err)
	}
}

// Start writes a unit file, starts the unit and returns its main process, which has been
// executed: 0 for a unit that has none.
func (m *Machine) Start(t *testing.T, unit, content string) int {
	t.Helper()
	m.Write(t, unit, content)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	done := make(chan string, 1)
	if _, err := m.Conn.StartUnitContext(ctx, unit, "replace", done); err != nil {
		t.Fatalf("start %s: %v", unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			t.Fatalf("start %s: %s", unit, result)
		}
	case <-ctx.Done():
		t.Fatalf("start %s: %v", unit, ctx.Err())
	}
	pid := m.MainPID(t, unit)
	await(t, unit+" has executed its program", func() bool { return pid == 0 || executed(pid) })
	return pid
}

// executed: systemd says that a service runs when it has forked, or at the latest in the
// middle of its execve, when neither its name nor its command line is the program's.
func executed(pid int) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	program, err := os.Readlink(proc + "/exe")
	if err != nil {
		return true // it was short
	}
	systemd, _ := os.Readlink("/proc/1/exe")
	line, _ := os.ReadFile(proc + "/cmdline")
	return program != systemd && len(line) > 0
}

// MainPID is the unit's main process as systemd has it now.
func (m *Machine) MainPID(t *testing.T, unit string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	p, err := m.Conn.GetUnitTypePropertyContext(ctx, unit, "Service", "MainPID")
	if err != nil {
		return 0
	}
	pid, _ := p.Value.Value().(uint32)
	return int(pid)
}
