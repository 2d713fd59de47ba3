//go:build vm

package main

import (
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"

	"golang.org/x/sys/unix"
)

// ending is what happens to a fault that the kernel does not undo.
type ending struct {
	in   time.Duration // the deadline; 0 is one that is not met
	by   func(*testing.T, *agent.Conn)
	heal bool // nobody is left who would revert it
}

// endings are the columns of docs/safety.md, and a few more. docs/safety.md says only
// of those that are here that they are tested.
func endings() map[string]ending {
	const soon = 5 * time.Second
	return map[string]ending{
		"at the deadline":  {in: 500 * time.Millisecond},
		"agent terminated": {by: func(t *testing.T, c *agent.Conn) { signalTo(t, c.Hello().PID, unix.SIGTERM) }},
		"controller lost":  {by: func(_ *testing.T, c *agent.Conn) { _ = c.Close() }},
		"agent killed":     {by: func(t *testing.T, c *agent.Conn) { signalTo(t, c.Hello().PID, unix.SIGKILL) }},
		"guard killed":     {by: func(t *testing.T, c *agent.Conn) { signalTo(t, c.Hello().GuardPID, unix.SIGKILL) }},
		"both killed": {heal: true, by: func(t *testing.T, c *agent.Conn) {
			h := c.Hello()
			signalTo(t, h.PID, unix.SIGSTOP) // or it would start another guard
			signalTo(t, h.GuardPID, unix.SIGKILL)
			signalTo(t, h.PID, unix.SIGKILL)
			_ = c.Close()
		}},
		"agent stopped": {in: soon, by: func(t *testing.T, c *agent.Conn) { signalTo(t, c.Hello().PID, unix.SIGSTOP) }},
		"guard stopped": {in: soon, by: func(t *testing.T, c *agent.Conn) { signalTo(t, c.Hello().GuardPID, unix.SIGSTOP) }},
		"both stopped": {in: soon, heal: true, by: func(t *testing.T, c *agent.Conn) {
			h := c.Hello()
			signalTo(t, h.PID, unix.SIGSTOP)
			signalTo(t, h.GuardPID, unix.SIGSTOP)
			for end := time.Now().Add(50 * time.Second); !gone(h.PID) || !gone(h.GuardPID); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the kernel has not killed them")
				}
			}
			_ = c.Close()
		}},
	}
}

func signalTo(t *testing.T, pid int, s unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}
