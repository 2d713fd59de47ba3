package inject

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestReadStatOfSelf(t *testing.T) {
	s, err := ReadStat(os.Getpid())
	if err != nil || s.PPID != os.Getppid() || s.Stopped() || s.Dead() || s.Kernel() || s.StartTime == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := ReadStat(1<<22 - 1); !errors.Is(err, ErrGone) {
		t.Errorf("no such process: %v, want %v", err, ErrGone)
	}
	if _, err := (Process{os.Getpid(), s.StartTime - 1}).Open(); !errors.Is(err, ErrGone) {
		t.Errorf("another start time: %v, want %v", err, ErrGone)
	}
}

// TestStatFile: it is of one process, and says so once that is gone.
func TestStatFile(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _, _ = cmd.Process.Kill(), cmd.Wait() }
	t.Cleanup(end)
	f, err := OpenStatFile(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 { // a second look is one from the start, too
		now, err := f.Read()
		if want, e := ReadStat(cmd.Process.Pid); err != nil || e != nil || now.StartTime != want.StartTime || now.PPID != os.Getpid() {
			t.Errorf("%+v, %v; want %+v, %v", now, err, want, e)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, err := f.Read(); err != nil || s.Stopped() {
			break
		} else if time.Now().After(end) {
			t.Fatalf("stopped 20 s ago, and it is %c", s.State)
		}
	}
	end()
	if s, err := f.Read(); !errors.Is(err, ErrGone) {
		t.Errorf("of a process that is gone: %+v, %v, want %v", s, err, ErrGone)
	}
	if _, err := OpenStatFile(1<<22 - 1); !errors.Is(err, ErrGone) {
		t.Errorf("no such process: %v, want %v", err, ErrGone)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) b) (c) T 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22"))
	f.Add([]byte("7 (x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStat(b); err == nil && s.State == 0 {
			t.Errorf("%q: no state", b)
		}
	})
}

func TestParseStatName(t *testing.T) {
	s, err := parseStat([]byte("7 (a) b (c) T 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22\n"))
	if err != nil || s.Comm != "a) b (c" || s.State != 'T' || s.PPID != 1 || s.PGID != 2 || s.StartTime != 19 {
		t.Errorf("%+v, %v", s, err)
	}
}
