package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
)

// build makes the binary as it is shipped.
func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "lockaudit-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=v1.2.3", "-o", exe, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return exe
}

// TestBinary uses the shipped binary from end to end.
func TestBinary(t *testing.T) {
	exe, state := build(t), t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	st, err := os.Stat(exe)
	if err != nil || st.Size() > 15e6 {
		t.Errorf("size %v, %v, want under 15 MB", st.Size(), err)
	}
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) != 0 {
		t.Errorf("not static: %v, %v", libs, err)
	}

	target := exec.Command("sleep", "1000")
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = target.Process.Kill(), target.Wait() }()
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{exe}, Env: []string{"LOCKAUDIT_STATE=" + state}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := c.Hello()
	if h.AgentVersion != "v1.2.3" || h.StateDir != state {
		t.Errorf("hello: %+v", h)
	}
	// What both map of the program's file is in memory once.
	own := resident(t, h.PID, "RssAnon:") + resident(t, h.GuardPID, "RssAnon:")
	shared := max(resident(t, h.PID, "RssFile:"), resident(t, h.GuardPID, "RssFile:"))
	if own+shared > 12<<10 {
		t.Errorf("agent and guard take %d KiB at rest and share %d KiB, want under 12 MiB", own, shared)
	}
	// Counted twice, as ps does, it is under 15 MiB; at the latest when they have rested.
	sum := func() int { return resident(t, h.PID, "VmRSS:") + resident(t, h.GuardPID, "VmRSS:") }
	for sum() > 15<<10 {
		if ctx.Err() != nil {
			t.Fatalf("agent and guard take %d KiB at rest, want under 15 MiB", sum())
		}
		time.Sleep(10 * time.Millisecond)
	}
	spec := inject.Spec{Kind: "pause", For: time.Minute, Params: fmt.Appendf(nil, `{"pid":%d}`, target.Process.Pid)}
	fault, err := c.Inject(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if out, status := runIt(t, exe, state, "list"); status != 0 || !strings.Contains(out, fault.ID) {
		t.Errorf("list: %d, %s", status, out)
	}
	if out, status := runIt(t, exe, state, "heal"); status != 3 || !strings.Contains(out, "in use by a running agent") || !strings.Contains(out, "hint:") {
		t.Errorf("heal beside an agent: %d, %s", status, out)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if s, err := inject.ReadStat(target.Process.Pid); err != nil || s.Stopped() {
		t.Errorf("after the end of orders the target is %+v, %v", s, err)
	}
	if out, status := runIt(t, exe, state, "heal"); status != 0 || !strings.Contains(out, "nothing to heal") {
		t.Errorf("heal: %d, %s", status, out)
	}
	bad := filepath.Join(state, "faults", "00000000000a.json")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := runIt(t, exe, state, "heal"); status != 4 || !strings.Contains(out, bad) {
		t.Errorf("heal of an undecodable entry: %d, %s", status, out)
	}
	for _, x := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--help"}, 0, "Examples:"},
		{[]string{"connect", "--help"}, 0, "Examples:"},
		{[]string{"list", "-h"}, 0, "Examples:"},
		{[]string{"heal", "--help"}, 0, "Examples:"},
		{[]string{"connect", "now"}, 64, "Usage:"},
		{[]string{"version"}, 0, "v1.2.3"},
		{[]string{"nonsense"}, 64, `unknown command "nonsense"`},
		{[]string{"--nonsense"}, 64, "Usage:"},
		{[]string{"heal", "list"}, 64, "Usage:"},
	} {
		if out, status := runIt(t, exe, state, x.args...); status != x.status || !strings.Contains(out, x.want) {
			t.Errorf("%v: %d, %s", x.args, status, out)
		}
	}
}

func runIt(t *testing.T, exe, state string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "LOCKAUDIT_STATE="+state)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func resident(t *testing.T, pid int, what string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), what)
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
