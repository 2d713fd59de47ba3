package pause

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/shirou/gopsutil/v3/process"
)

// member is a process of the tree as Prepare saw it.
type member struct {
	inject.Process
	inject.Stat
}

// members returns the root and, with tree, its descendants, parents first.
func members(ctx context.Context, p Params, tree bool) ([]member, error) {
	s, err := inject.ReadStat(p.PID)
	if err == nil && (s.Dead() || p.StartTime != 0 && p.StartTime != s.StartTime) {
		err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	if err != nil {
		return nil, err
	}
	out := []member{{inject.Process{PID: p.PID, StartTime: s.StartTime}, s}}
	for i := 0; tree && i < len(out); i++ {
		kids, err := children(ctx, out[i].PID)
		if err != nil {
			return nil, err
		}
		for _, pid := range kids {
			if s, err := inject.ReadStat(pid); err == nil && !s.Dead() {
				out = append(out, member{inject.Process{PID: pid, StartTime: s.StartTime}, s})
			}
		}
	}
	return out, nil
}

// children reads the kernel's own list, which is exact for a stopped process.
// Where the kernel lacks it (CONFIG_PROC_CHILDREN) all processes are looked
// through. gopsutil's Children would run pgrep.
func children(ctx context.Context, pid int) ([]int, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	tasks, err := os.ReadDir(dir)
	if notThere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read threads of %d: %w", pid, err)
	}
	var out []int
	for _, t := range tasks {
		b, err := os.ReadFile(dir + "/" + t.Name() + "/children")
		if errors.Is(err, os.ErrNotExist) {
			if _, err := inject.ReadStatFile(dir + "/" + t.Name() + "/stat"); err == nil {
				return scan(ctx, pid)
			}
			continue // the thread ended
		}
		if err != nil && !notThere(err) {
			return nil, fmt.Errorf("read children of %d: %w", pid, err)
		}
		for _, w := range strings.Fields(string(b)) {
			n, err := strconv.Atoi(w)
			if err != nil {
				return nil, fmt.Errorf("read children of %d: %w", pid, err)
			}
			out = append(out, n)
		}
	}
	return out, nil
}

func scan(ctx context.Context, parent int) ([]int, error) {
	pids, err := process.PidsWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []int
	for _, pid := range pids {
		if s, err := inject.ReadStat(int(pid)); err == nil && s.PPID == parent {
			out = append(out, int(pid))
		}
	}
	return out, nil
}
