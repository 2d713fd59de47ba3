package target_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// hang is after what something that was waited for does not happen any more.
const hang = 2 * time.Minute

func ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

// program is a copy of an ordinary program under a name of its own, so that
// nothing else on the machine fits.
func program(t *testing.T, name, of string) string {
	t.Helper()
	b, err := os.ReadFile(of)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts a program.
func run(t *testing.T, argv ...string) int {
	t.Helper()
	return start(t, exec.Command(argv[0], argv[1:]...))
}

// runWith starts a program that holds an open file.
func runWith(t *testing.T, f *os.File) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{f}
	return start(t, cmd)
}

func start(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return startWith(t, cmd)
}

// startWith starts a command that leads a process group, and returns when it shows its
// command line: when Start returns, it is still in the middle of its execve.
func startWith(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	await(t, func() bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		return err == nil && string(line) == strings.Join(cmd.Args, "\x00")+"\x00"
	})
	return cmd.Process.Pid
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("what was waited for did not happen within %v", hang)
		}
	}
}

func want(t *testing.T, s target.Selector, pid int) target.Target {
	t.Helper()
	got, err := target.Resolve(ctx(t), s)
	if err != nil {
		t.Fatalf("resolve %v: %v", s, err)
	}
	stat, err := inject.ReadStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	if got.PID != pid || got.StartTime != stat.StartTime || got.Comm != stat.Comm {
		t.Errorf("resolve %v: %+v, want process %d", s, got, pid)
	}
	return got
}

func refused(t *testing.T, s target.Selector, is error, words ...string) {
	t.Helper()
	got, err := target.Resolve(ctx(t), s)
	if !errors.Is(err, is) {
		t.Errorf("resolve %v: %+v, %v, want %v", s, got, err, is)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("resolve %v: %v: does not say %q", s, err, w)
		}
	}
}

// unique is a name of at most 15 bytes that only this test process uses.
func unique(kind string) string { return kind + strconv.Itoa(os.Getpid()%1_000_000) }

func TestByPID(t *testing.T) {
	pid := run(t, "sleep", "1000")
	got := want(t, target.Selector{PID: pid}, pid)
	want(t, target.Selector{PID: pid, StartTime: got.StartTime}, pid)
	refused(t, target.Selector{PID: pid, StartTime: got.StartTime - 1}, inject.ErrGone, strconv.FormatUint(got.StartTime, 10))
	refused(t, target.Selector{PID: 1<<22 - 1}, inject.ErrGone)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // a zombie now: nobody waits yet
		t.Fatal(err)
	}
	await(t, func() bool { s, err := inject.ReadStat(pid); return err != nil || s.Dead() })
	refused(t, target.Selector{PID: pid}, inject.ErrGone)
}

func TestByName(t *testing.T) {
	name := unique("tgt")
	path := program(t, name, "/bin/sleep")
	refused(t, target.Selector{Name: name}, target.ErrNone, "find name "+name)
	first := run(t, path, "1000")
	want(t, target.Selector{Name: name}, first)
	second := run(t, path, "2000")
	refused(t, target.Selector{Name: name}, inject.ErrRefused, "2 processes fit",
		fmt.Sprintf("process %d (%s) started at tick", first, name), path+" 1000", fmt.Sprintf("process %d ", second), path+" 2000")
}

func TestByLongName(t *testing.T) {
	long := unique("a-rather-long-")
	other := long[:15] + "x" // the same in the 15 bytes that the kernel keeps
	pid := run(t, program(t, long, "/bin/sleep"), "1000")
	run(t, program(t, other, "/bin/sleep"), "1000")
	want(t, target.Selector{Name: long}, pid)
	refused(t, target.Selector{Name: long[:15]}, inject.ErrRefused)
}

func TestByCmdline(t *testing.T) {
	path := program(t, unique("cmd"), "/bin/sleep")
	pid := run(t, path, "1000", "2000")
	want(t, target.Selector{Cmdline: target.Cmdline{Joined: path + " 1000 2000"}}, pid)
	want(t, target.Selector{Cmdline: target.Cmdline{Args: []string{path, "1000", "2000"}}}, pid)
	refused(t, target.Selector{Cmdline: target.Cmdline{Args: []string{path, "1000 2000"}}}, target.ErrNone)
	refused(t, target.Selector{Cmdline: target.Cmdline{Joined: path + " 1000"}}, target.ErrNone)
}

// TestForkedChildren: a server and the children that it forked are one.
func TestForkedChildren(t *testing.T) {
	name := unique("frk")
	path := program(t, name, "/bin/sh")
	cmd := exec.Command(path, "-c", `(read x; :) </dev/zero & (read x; :) </dev/zero & echo; wait`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL), cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	want(t, target.Selector{Name: name}, cmd.Process.Pid)
}

func TestValidate(t *testing.T) {
	for words, json := range map[string]string{
		"nothing is named":          `{}`,
		"pid and name are given":    `{"pid":7,"name":"x"}`,
		"unknown field":             `{"pidfile":"/x"}`,
		"start_time belongs":        `{"name":"x","start_time":7}`,
		"proto and netns belong":    `{"name":"x","proto":"tcp"}`,
		"pid is \"-1\"":             `{"pid":-1}`,
		"port is \"65536\"":         `{"port":65536}`,
		"proto is \"sctp\"":         `{"port":1,"proto":"sctp"}`,
		"netns is \"x\"":            `{"port":1,"netns":"x"}`,
		"name is \"a/b\"":           `{"name":"a/b"}`,
		`name is "a\nb"`:            `{"name":"a\nb"}`,
		"pid_file is \"run/x.pid\"": `{"pid_file":"run/x.pid"}`,
		"unit is \"a/b.service\"":   `{"unit":"a/b.service"}`,
		"unit is \"x.slice\"":       `{"unit":"x.slice"}`,
		"container is \"abc\"":      `{"container":"abc"}`,
		"container is \"../../x\"":  `{"container":"../../x"}`,
		"cannot unmarshal number":   `{"cmdline":7}`,
		"data after the object":     `{"pid":7}{}`,
	} {
		s, err := target.Parse([]byte(json))
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", json, err, words)
		}
		if _, again := target.Resolve(ctx(t), s); again == nil {
			t.Errorf("%s: resolve accepts what parse refuses", json)
		}
	}
}
