package hook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/hook"
	"github.com/lockaudit/lockaudit/inject/injecttest"
)

func newFault() inject.Fault { return hook.New(hook.Options{Commands: true}) }

func TestMain(m *testing.M) { injecttest.Main(m, newFault) }

func TestConformance(t *testing.T) {
	injecttest.Run(t, injecttest.Subject{New: newFault, Patience: 20 * time.Second, Target: func(t *testing.T) injecttest.Target {
		file := filepath.Join(t.TempDir(), "fault")
		return injecttest.Target{
			Params:   params(t, hook.Params{Inject: []string{"touch", file}, Revert: []string{"rm", "-f", file}, Check: []string{"test", "!", "-e", file}}),
			Snapshot: func() string { _, err := os.Stat(file); return fmt.Sprint("no fault: ", err != nil) },
		}
	}})
}

func params(t *testing.T, p hook.Params) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hang is after what something that was waited for does not happen any more.
const hang = 2 * time.Minute

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return c
}

// script writes an executable file.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func prepare(t *testing.T, f inject.Fault, p hook.Params) inject.Plan {
	t.Helper()
	return prepareWith(t, f, p, 40*time.Second)
}

func prepareWith(t *testing.T, f inject.Fault, p hook.Params, patience time.Duration) inject.Plan {
	t.Helper()
	plan, err := f.Prepare(ctx(t), inject.Spec{Kind: hook.Kind, For: time.Minute, Patience: patience, Params: params(t, p)})
	if err != nil {
		t.Fatal(err)
	}
	plan.ID = "a"
	return plan
}

func TestWords(t *testing.T) {
	f := newFault()
	say := script(t, "say", `echo "$LOCKAUDIT_HOOK $1"; echo "$PATH $HOME $TOKEN" >&2`)
	p := prepare(t, f, hook.Params{Inject: []string{say, "a  b"}, Revert: []string{say}, Env: []string{"TOKEN=x"}})
	e, err := f.Inject(ctx(t), p)
	if want := `inject command: exit status 0, output "inject a b ` + inject.SearchPath + ` / x"`; err != nil || e.Seen != want || e.Count != 1 || e.Since == 0 {
		t.Errorf("inject: %+v, %v, want %s", e, err, want)
	}
	// Without a check only the exit status is known, and that is what is said.
	e, err = f.Revert(ctx(t), p)
	if err != nil || !strings.HasPrefix(e.Seen, "revert command: exit status 0") || !strings.Contains(e.Seen, "nothing else was looked at") {
		t.Errorf("revert: %+v, %v", e, err)
	}
}

// TestFailures: each is told with status and output, and none passes for a success.
func TestFailures(t *testing.T) {
	bad := script(t, "bad", "echo no such cluster; exit 3")
	stuck := script(t, "hang", "echo waiting; sleep 1000")
	ok, file := []string{"true"}, filepath.Join(t.TempDir(), "fault")
	for name, c := range map[string]struct {
		p              hook.Params
		inject, revert string // of the error; "": none
	}{
		"inject fails":       {hook.Params{Inject: []string{bad}, Revert: ok}, `inject command: exit status 3, output "no such cluster"`, ""},
		"inject hangs":       {hook.Params{Inject: []string{stuck}, Revert: ok}, `inject command: killed, it had not ended within 4s, output "waiting"`, ""},
		"revert fails":       {hook.Params{Inject: ok, Revert: []string{bad}}, "", `revert command: exit status 3, output "no such cluster"`},
		"revert hangs":       {hook.Params{Inject: ok, Revert: []string{stuck}}, "", "revert command: killed"},
		"check fails before": {hook.Params{Inject: ok, Revert: ok, Check: []string{bad}}, "before anything was done: check command: exit status 3", ""},
		"revert changes it not": {hook.Params{
			Inject: []string{"touch", file}, Revert: ok, Check: []string{"test", "!", "-e", file},
		}, "", "check command: exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := 40 * time.Second
			if strings.Contains(name, "hangs") {
				patience = 8 * time.Second // which it takes
			}
			f := newFault()
			p := prepareWith(t, f, c.p, patience)
			start := time.Now()
			_, err := f.Inject(ctx(t), p)
			told(t, "inject", err, c.inject)
			_, err = f.Revert(ctx(t), p)
			told(t, "revert", err, c.revert)
			if d := time.Since(start); d > hang {
				t.Errorf("it took %v", d)
			}
		})
	}
}

func told(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// TestOutputIsBounded: a command that prints without end, and one whose child keeps
// the output open.
func TestOutputIsBounded(t *testing.T) {
	f := newFault()
	pidFile := filepath.Join(t.TempDir(), "pid")
	noisy := script(t, "noisy", "yes | head -c 1000000; sleep 1000 & echo $! > "+pidFile+"; echo the end")
	p := prepare(t, f, hook.Params{Inject: []string{noisy}, Revert: []string{"true"}})
	e, err := f.Inject(ctx(t), p) // which would not end if it waited for the command's child
	if err != nil || len(e.Seen) > 1000 || !strings.HasSuffix(e.Seen, `the end"`) {
		t.Errorf("inject: %+v, %v", e, err)
	}
	b, err := os.ReadFile(pidFile)
	var pid int
	if _, err2 := fmt.Sscan(string(b), &pid); errors.Join(err, err2) != nil {
		t.Fatal(err, err2)
	}
	if child, err := os.FindProcess(pid); err == nil {
		_ = child.Kill()
	}
}

func TestRefuses(t *testing.T) {
	ok := []string{"true"}
	for name, c := range map[string]struct {
		p    hook.Params
		want string
	}{
		"no inject":      {hook.Params{Revert: ok}, "no inject command"},
		"no revert":      {hook.Params{Inject: ok}, "no revert command"},
		"not found":      {hook.Params{Inject: []string{"/no/such"}, Revert: ok}, `inject command: find program "/no/such"`},
		"not found name": {hook.Params{Inject: ok, Revert: []string{"no-such-program"}}, "looked at /usr/local/sbin/no-such-program"},
		"relative":       {hook.Params{Inject: []string{"./x"}, Revert: ok}, "neither an absolute path nor a name"},
		"directory":      {hook.Params{Inject: []string{"/tmp"}, Revert: ok}, "no executable file"},
		"zero byte":      {hook.Params{Inject: []string{"true", "a\x00b"}, Revert: ok}, "zero byte"},
		"environment":    {hook.Params{Inject: ok, Revert: ok, Env: []string{"x y"}}, "not NAME=value"},
		"timeout":        {hook.Params{Inject: ok, Revert: ok, Timeout: time.Hour}, "patience of 2s allows 1s"},
		"negative":       {hook.Params{Inject: ok, Revert: ok, Timeout: -1}, "timeout is -1ns"},
	} {
		s := inject.Spec{Kind: hook.Kind, For: time.Minute, Patience: 2 * time.Second, Params: params(t, c.p)}
		if _, err := newFault().Prepare(ctx(t), s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	s := inject.Spec{Kind: hook.Kind, For: time.Minute, Patience: 2 * time.Second, Params: params(t, hook.Params{Inject: ok, Revert: ok})}
	if _, err := hook.New(hook.Options{}).Prepare(ctx(t), s); !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), "--allow-commands") {
		t.Errorf("without permission: %v", err)
	}
}

// TestCommandEndsWithItsGuard: the next guard's revert must not meet it.
func TestCommandEndsWithItsGuard(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	slow := script(t, "slow", "echo $$ > "+file+".tmp; mv "+file+".tmp "+file+"; exec sleep 1000")
	plan, err := newFault().Prepare(ctx(t), inject.Spec{Kind: hook.Kind, For: time.Minute, Patience: time.Minute,
		Params: params(t, hook.Params{Inject: []string{slow}, Revert: []string{"true"}})})
	if err != nil {
		t.Fatal(err)
	}
	plan.ID = "a"
	b, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	guard := exec.Command(exe, "-test.run=^$") // the suite's holder of a fault
	guard.Env = append(os.Environ(), "INJECTTEST_ROLE=during inject")
	guard.Stdin = bytes.NewReader(b)
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = guard.Process.Kill(), guard.Wait() }()
	pid := 0
	await(t, "the command runs", func() bool {
		b, err := os.ReadFile(file)
		_, scan := fmt.Sscan(string(b), &pid)
		return err == nil && scan == nil
	})
	s, err := inject.ReadStat(pid)
	if err != nil || guard.Process.Kill() != nil {
		t.Fatal(err)
	}
	await(t, "the command is killed", func() bool {
		now, err := inject.ReadStat(pid)
		return err != nil || now.Dead() || now.StartTime != s.StartTime
	})
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", hang, what)
		}
	}
}
