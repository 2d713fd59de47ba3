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
	var st unix.Stat_t
	one := unix.Stat("/proc/"+strconv.Itoa(pid)+"/task", &st) == nil && st.Nlink == 2+1 // . and .. and one thread
	return children(ctx, pid, one)
}

// ChildrenOf is Children of a process at which the caller has just looked: a tree may
// have very many, and is stopped only once all have been seen.
func ChildrenOf(ctx context.Context, pid int, s Stat) ([]int, error) {
	return children(ctx, pid, s.Threads == 1)
}

func children(ctx context.Context, pid int, oneThread bool) ([]int, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	if oneThread {
		if kids, ok := childrenOfOne(dir, pid); ok {
			return kids, nil
		}
	}
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

// childrenOfOne is the short way for most processes, which have one thread and few
// children.
func childrenOfOne(dir string, pid int) ([]int, bool) {
	var buf [512]byte
	b, err := readSmall(dir+"/"+strconv.Itoa(pid)+"/children", buf[:])
	if err != nil || len(b) == len(buf) {
		return nil, false // the long way says why, or reads more
	}
	var out []int
	for _, w := range strings.Fields(string(b)) {
		n, err := strconv.Atoi(w)
		if err != nil {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
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
