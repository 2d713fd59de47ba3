package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// benchRole makes a copy of this program a process to measure with.
const benchRole = "LOCKAUDIT_BENCH_ROLE"

// playRole: "target" looks at the clock every 50 µs and, on each line of input,
// prints the largest gap since the last one in nanoseconds; "busy" burns a core;
// "root" and "last" are of a tree.
func playRole(role string) {
	if role == nodeClockRole {
		if err := playNodeClock(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	switch role {
	case "busy":
		for {
			_ = math.Sqrt(2)
		}
	case "root":
		playRoot()
	case "last":
		playLast()
	}
	runtime.LockOSThread()
	// The instrument must not wait for a core after the pause is over: what it
	// would then measure is the machine's load. Without the permission it does.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	ask := make(chan struct{})
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			ask <- struct{}{}
		}
		os.Exit(0)
	}()
	last, gap := mono(), time.Duration(0)
	for {
		ts := unix.NsecToTimespec(int64(50 * time.Microsecond))
		_ = unix.Nanosleep(&ts, nil)
		now := mono()
		gap, last = max(gap, now-last), now
		select {
		case <-ask:
			fmt.Println(int64(gap))
			gap = 0
		default:
		}
	}
}

func mono() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// self starts a copy of this program in a role.
func self(role string) (*exec.Cmd, io.WriteCloser, *bufio.Reader, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), benchRole+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, out, err := startPiped(cmd)
	return cmd, in, out, err
}

// startPiped starts a program that is talked to by lines.
func startPiped(cmd *exec.Cmd) (io.WriteCloser, *bufio.Reader, error) {
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, err
	}
	return in, bufio.NewReader(out), cmd.Start()
}

func pauseLength(ctx context.Context, n int) ([]row, error) {
	return lengths(ctx, n, "p99 < 0.5")
}

// pauseLengthBusy does the same with a process that never sleeps on every core.
func pauseLengthBusy(ctx context.Context, n int) ([]row, error) {
	runtime.LockOSThread() // the death signal of the children is this thread's
	defer runtime.UnlockOSThread()
	for range runtime.NumCPU() {
		cmd, _, _, err := self("busy")
		if err != nil {
			return nil, err
		}
		defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	}
	return lengths(ctx, n, "p99 < 1")
}

// lengths compares the guard's deadline with a sleep in Go: by how much the
// target's own view of a 1 s pause is off.
func lengths(ctx context.Context, n int, target string) ([]row, error) {
	const second = time.Second
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	c, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ours, err := gaps(ctx, n, func(pid int) error {
		f, err := c.Inject(ctx, spec(pid, second))
		if err != nil {
			return err
		}
		time.Sleep(second + 100*time.Millisecond) // the guard ends it meanwhile
		_, err = c.Revert(ctx, f.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	sleep, err := gaps(ctx, n, func(pid int) error {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return err
		}
		if _, err := until(pid, true); err != nil {
			return err
		}
		time.Sleep(second)
		return syscall.Kill(pid, syscall.SIGCONT)
	})
	return []row{
		{"error of a 1 s pause, seen by the target", target, ours, "ms"},
		{"alternative: time.Sleep between two signals", "", sleep, "ms"},
	}, err
}

// gaps pauses four targets, one after the other within a second, and returns how
// far each pause was from 1 s.
func gaps(ctx context.Context, n int, pauseOnce func(pid int) error) ([]float64, error) {
	const targets, rounds = 4, 8
	var mu sync.Mutex
	var out []float64
	var errs []error
	var wg sync.WaitGroup
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range targets {
		cmd, in, answers, err := self("target")
		if err != nil {
			return nil, err
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
			time.Sleep(time.Duration(i) * time.Second / (2 * targets))
			for range rounds * n {
				v, err := gap(in, answers, func() error { return errors.Join(ctx.Err(), pauseOnce(cmd.Process.Pid)) })
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
					mu.Unlock()
					return
				}
				out = append(out, math.Abs(millis(v-time.Second)))
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// gap resets the target's measurement, runs act, and asks for the largest gap.
func gap(in io.Writer, answers *bufio.Reader, act func() error) (time.Duration, error) {
	ask := func() (time.Duration, error) {
		if _, err := io.WriteString(in, "\n"); err != nil {
			return 0, err
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		return time.Duration(ns), err
	}
	if _, err := ask(); err != nil {
		return 0, err
	}
	if err := act(); err != nil {
		return 0, err
	}
	return ask()
}

func residentMiB(pid int) (float64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("read memory of %d: no VmRSS line", pid)
}
