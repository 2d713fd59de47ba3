package inject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/process"
	"golang.org/x/sys/unix"
)

// Children lists the children of a process, zombies too. It reads the kernel's own
// list, which is exact for a stopped process; where the kernel lacks it
// (CONFIG_PROC_CHILDREN) all processes are looked through. gopsutil's Children
// would run pgrep.
func Children(ctx context.Context, pid int) ([]int, error) {
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
			if _, err := ReadStatFile(dir + "/" + t.Name() + "/stat"); err == nil {
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
		if s, err := ReadStat(int(pid)); err == nil && s.PPID == parent {
			out = append(out, int(pid))
		}
	}
	return out, nil
}

// notThere: the process or thread has ended.
func notThere(err error) bool {
	return errors.Is(err, ErrGone) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
