package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
)

// candidate is a process that may be meant.
type candidate struct {
	Target
	ppid int
}

// look reads a living process. A zombie is gone.
func look(pid int) (candidate, error) {
	s, err := inject.ReadStat(pid)
	if err == nil && s.Dead() {
		err = fmt.Errorf("process %d has ended: %w", pid, inject.ErrGone)
	}
	if err != nil {
		return candidate{}, err
	}
	c := candidate{ppid: s.PPID}
	c.Process = inject.Process{PID: pid, StartTime: s.StartTime}
	c.Comm = s.Comm
	if c.Cmdline, err = cmdline(pid); err != nil {
		return candidate{}, err
	}
	groups, err := cgroupsOf(pid)
	if err != nil {
		return candidate{}, err
	}
	c.place(groups)
	// The number may have been given to another process between the reads.
	if again, err := inject.ReadStat(pid); err != nil || again.StartTime != s.StartTime {
		return candidate{}, fmt.Errorf("process %d: %w", pid, inject.ErrGone)
	}
	return c, nil
}

func cmdline(pid int) ([]string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil, notThere(err)
	}
	// A program that writes a title over its arguments leaves zero bytes behind it.
	line := strings.TrimRight(string(b), "\x00")
	if line == "" {
		return nil, nil
	}
	return strings.Split(line, "\x00"), nil
}

// notThere makes the errors of a process that ends meanwhile one.
func notThere(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errNoProcess) {
		return fmt.Errorf("%w: %w", err, inject.ErrGone)
	}
	return err
}

// all looks at every process and returns those that fit.
func all(ctx context.Context, fits func(candidate) bool) ([]candidate, error) {
	pids, err := pids()
	if err != nil {
		return nil, err
	}
	var out []candidate
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := look(pid)
		if errors.Is(err, inject.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if fits(c) {
			out = append(out, c)
		}
	}
	return out, nil
}

func pids() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			out = append(out, pid)
		}
	}
	return out, nil
}

// topmost leaves out what is forked from another candidate of the same name, and
// from its child, and so on.
func topmost(found []candidate) []candidate {
	byPID := map[int]candidate{}
	for _, c := range found {
		byPID[c.PID] = c
	}
	var out []candidate
	for _, c := range found {
		if parent, ok := byPID[c.ppid]; ok && parent.Comm == c.Comm && parent.PID != c.PID {
			continue
		}
		out = append(out, c)
	}
	return out
}
