package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// atRest measures what agent and guard take while nothing happens, and with a hundred
// faults in effect.
func atRest(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	var rest, share, busy, first, again []float64
	for range n {
		c, err := l.dial(ctx)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		pids := []int{c.Hello().PID, c.Hello().GuardPID}
		mib, err := residents(pids)
		if err != nil {
			return nil, err
		}
		rest = append(rest, mib)
		percent, err := cpu(pids, 10*time.Second)
		if err != nil {
			return nil, err
		}
		share = append(share, percent)
		var ids []string
		for i := range 100 {
			target, end, err := sleeper()
			if err != nil {
				return nil, err
			}
			defer end()
			f, err := c.Inject(ctx, spec(target.Process.Pid, 5*time.Minute))
			if err != nil {
				return nil, err
			}
			ids = append(ids, f.ID)
			if i == 0 {
				if mib, err = residents(pids); err != nil {
					return nil, err
				}
				first = append(first, mib)
			}
		}
		if mib, err = residents(pids); err != nil {
			return nil, err
		}
		busy = append(busy, mib)
		for _, id := range ids {
			if _, err := c.Revert(ctx, id); err != nil {
				return nil, err
			}
		}
		if mib, err = rested(pids); err != nil {
			return nil, err
		}
		again = append(again, mib)
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
	return []row{
		{"agent and guard at rest, resident", "< 15", rest, "MiB"},
		{"alternative: chaosd's server at rest (cited, not measured here)", "", []float64{52.8}, "MB"},
		{"agent and guard with 1 fault, the guard's code locked in memory", "< 30", first, "MiB"},
		{"agent and guard with 100 faults", "< 30", busy, "MiB"},
		{"agent and guard at rest again, after 100 faults", "< 15", again, "MiB"},
		{"agent and guard at rest, one core for 10 s", "< 0.1", share, "%"},
	}, nil
}

func residents(pids []int) (float64, error) {
	var sum float64
	var errs []error
	for _, pid := range pids {
		mib, err := residentMiB(pid)
		sum += mib
		errs = append(errs, err)
	}
	return sum, errors.Join(errs...)
}

// rested waits until agent and guard have given back what the last fault has left them with.
func rested(pids []int) (mib float64, err error) {
	const enough = 15
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if mib, err = residents(pids); err != nil || mib < enough {
			break
		}
	}
	time.Sleep(time.Second) // agent and guard do so each in its own time
	if err != nil {
		return 0, err
	}
	return residents(pids)
}

// cpu is the time of all threads, as the scheduler counts it in nanoseconds.
func cpu(pids []int, d time.Duration) (float64, error) {
	used := func() (sum int64, err error) {
		for _, pid := range pids {
			files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
			if err != nil || len(files) == 0 {
				return 0, fmt.Errorf("read schedstat of %d: %w", pid, err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					return 0, err
				}
				var ns int64
				if _, err := fmt.Sscan(string(b), &ns); err != nil {
					return 0, err
				}
				sum += ns
			}
		}
		return sum, nil
	}
	before, err := used()
	if err != nil {
		return 0, err
	}
	time.Sleep(d)
	after, err := used()
	return 100 * float64(after-before) / float64(d), err
}
