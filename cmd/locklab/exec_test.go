package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExec(t *testing.T) {
	s := newSite(t, os.Geteuid())
	s.must("up", "redis-single")
	run := []string{"exec", "redis-single", "app-a", "--"}

	t.Run("stdin, stdout, stderr", func(t *testing.T) {
		cmd := s.command(append(run, "sh", "-c", "cat; echo error >&2")...)
		cmd.Stdin = strings.NewReader("line\n")
		var notes strings.Builder
		cmd.Stderr = &notes
		out, err := cmd.Output()
		if err != nil || string(out) != "line\n" || notes.String() != "error\n" {
			t.Errorf("stdout %q, stderr %q, %v", out, notes.String(), err)
		}
	})
	t.Run("exit status", func(t *testing.T) {
		for program, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
			if _, notes, exit := s.run(append(run, "sh", "-c", program)...); exit != want || notes != "" {
				t.Errorf("%s: exit status %d, stderr %q", program, exit, notes)
			}
		}
	})
	t.Run("environment", func(t *testing.T) {
		out := s.must(append(run, "sh", "-c", `echo "$PATH"; stat -c %a "$LOCKAUDIT_STATE"; echo "$LOCKAUDIT_STATE"; command -v locklab`)...)
		lines := strings.Split(out, "\n")
		if !strings.HasPrefix(lines[0], programs+":") || lines[1] != "700" ||
			!strings.HasSuffix(lines[2], "/app-a") || lines[3] != filepath.Join(programs, "locklab") {
			t.Errorf("environment: %s", out)
		}
	})
	t.Run("a program's own flags", func(t *testing.T) {
		if out := s.must("exec", "redis-single", "app-a", "echo", "--dir", "--", "-n"); out != "--dir -- -n\n" {
			t.Errorf("arguments: %q", out)
		}
	})
	t.Run("end of input reaches the program", func(t *testing.T) {
		cmd := s.command(append(run, "cat")...)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestExecEnds ends the exec in three ways and looks at what its program sees.
func TestExecEnds(t *testing.T) {
	s := newSite(t, os.Geteuid())
	s.must("up", "redis-single")
	tests := []struct {
		name   string
		signal syscall.Signal
		ignore bool
		exit   int // of locklab; -1: killed
		least  time.Duration
	}{
		{"ctrl-C is SIGTERM for the program", syscall.SIGINT, false, 42, 0},
		{"killed caller is SIGTERM for the program", syscall.SIGKILL, false, -1, 0},
		{"who ignores SIGTERM is killed", syscall.SIGTERM, true, 128 + 9, 9 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "signal")
			args := []string{"exec", "redis-single", "app-a", "--", helperPath(), "wait-for-term", file}
			if tt.ignore {
				args = append(args, "ignore")
			}
			cmd := s.command(args...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			awaitLine(t, out, "ready")
			start := time.Now()
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if exit := cmd.ProcessState.ExitCode(); exit != tt.exit {
				t.Errorf("exit status %d, want %d", exit, tt.exit)
			}
			if took := time.Since(start); took < tt.least {
				t.Errorf("ended after %v", took)
			}
			eventually(t, func() string {
				if got, _ := os.ReadFile(file); string(got) != "terminated" {
					return "the program saw the signal " + string(got)
				}
				return s.must("exec", "redis-single", "app-a", "--", "sh", "-c", "grep -l '^Name:.helper' /proc/[0-9]*/status || true")
			})
		})
	}
}

// TestExecWhenTheLabGoesDown must not hang.
func TestExecWhenTheLabGoesDown(t *testing.T) {
	s := newSite(t, os.Geteuid())
	s.must("up", "redis-single")
	cmd := s.command("exec", "redis-single", "app-a", "--", "sh", "-c", "echo ready; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, out, "ready")
	s.must("down", "redis-single")
	_ = cmd.Wait()
	if exit := cmd.ProcessState.ExitCode(); exit != 1 {
		t.Errorf("exit status %d", exit)
	}
}

// awaitLine reads until a line holds word, and lets the rest pass unseen.
func awaitLine(t *testing.T, r io.Reader, word string) {
	t.Helper()
	found := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if strings.Contains(lines.Text(), word) {
				found <- true
				_, _ = io.Copy(io.Discard, r)
				return
			}
		}
		found <- false
	}()
	select {
	case ok := <-found:
		if !ok {
			t.Fatalf("%q was not printed", word)
		}
	case <-time.After(deadline):
		t.Fatalf("%q was not printed within %v", word, deadline)
	}
}
