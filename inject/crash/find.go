package crash

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// since is what whoever looks for the replacement knows beyond the plan.
type since struct {
	standby int    // the process that it has started for it; 0: none
	killed  uint64 // no earlier than this tick the server died; 0: not known
}

// placeOf is a process's user, directory and control group.
func placeOf(pid int) (uid uint32, dir, cgroup string, err error) {
	var st unix.Stat_t
	proc := "/proc/" + strconv.Itoa(pid)
	if err = unix.Stat(proc, &st); err == nil {
		dir, err = os.Readlink(proc + "/cwd")
	}
	if err != nil {
		return 0, "", "", fmt.Errorf("look at process %d: %w", pid, err)
	}
	cgroup, err = target.CgroupOf(pid)
	return st.Uid, dir, cgroup, err
}

func cmdlineOf(pid int) ([]byte, error) {
	return os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
}

// processes calls f for everyone that lives, until it returns false.
func processes(f func(inject.Process, inject.Stat) bool) error {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, e := range dir {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s, err := inject.ReadStat(pid)
		if err != nil || s.Dead() {
			continue
		}
		if !f(inject.Process{PID: pid, StartTime: s.StartTime}, s) {
			return nil
		}
	}
	return nil
}

// find looks for the replacement; nil if there is none. ready says that it listens
// wherever the killed one did.
//
// By its sockets a server is known beyond doubt: two cannot have them. Without any,
// the like of it may run for other reasons: only what was started for it counts, a
// unit's main process, or the one new process that has all else in common.
func (u undo) find(ctx context.Context, by since) (found *inject.Process, ready bool, err error) {
	w := u.Twin
	var alike []inject.Process
	parents := map[int]int{}
	err = processes(func(p inject.Process, s inject.Stat) bool {
		if s.StartTime < w.Since || s.StartTime == w.Since && len(w.Listens) == 0 || p == u.Server {
			return true
		}
		if exe, err := exeOf(p.PID); err != nil || exe != w.Exe {
			return true
		}
		line, err := cmdlineOf(p.PID)
		known := err == nil && w.is(line, u.Image.Argv)
		if len(w.Listens) == 0 {
			switch {
			case !known:
			case p.PID == by.standby:
				found, ready = &p, true
			case s.StartTime >= by.killed && u.samePlace(p):
				alike, parents[p.PID] = append(alike, p), s.PPID
			}
			return !ready
		}
		on, err := listens(p.PID)
		if err != nil {
			return true // it ended meanwhile, or is another user's
		}
		all := !slices.ContainsFunc(w.Listens, func(a string) bool { return !slices.Contains(on, a) })
		if known || all {
			found, ready = &p, all
		}
		return !all
	})
	if err != nil || found != nil || len(alike) == 0 {
		return found, ready, err
	}
	if u.Unit != "" {
		return u.mainAmong(ctx, alike)
	}
	// A server that forks the like of itself is one.
	first := slices.DeleteFunc(alike, func(p inject.Process) bool { return parents[parents[p.PID]] != 0 })
	if len(first) != 1 {
		return nil, false, nil
	}
	return &first[0], true, nil
}

// samePlace compares what the killed server, or the command that starts it, had.
func (u undo) samePlace(p inject.Process) bool {
	uid, dir, cgroup, err := placeOf(p.PID)
	return err == nil && cgroup == u.Twin.Cgroup &&
		(uid == u.Twin.UID || u.Unit == "" && uid == u.Image.UID) && (dir == u.Twin.Dir || u.Unit == "" && dir == u.Image.Dir)
}

// mainAmong asks systemd which of them is the unit's main process.
func (u undo) mainAmong(ctx context.Context, alike []inject.Process) (*inject.Process, bool, error) {
	c, err := target.Systemd(ctx)
	if err != nil {
		return nil, false, err
	}
	defer c.Close()
	pid, _, err := mainPID(ctx, c, u.Unit)
	if err != nil {
		return nil, false, err
	}
	for _, p := range alike {
		if p.PID == pid {
			return &p, true, nil
		}
	}
	return nil, false, nil
}

// await waits until the replacement is ready.
func (u undo) await(ctx context.Context, by since, over func() error) (inject.Process, error) {
	for {
		found, ready, err := u.find(ctx, by)
		if err != nil {
			return inject.Process{}, err
		}
		if ready {
			return *found, nil
		}
		if err := over(); err != nil {
			return inject.Process{}, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			if found != nil {
				return inject.Process{}, fmt.Errorf("process %d runs and does not listen on %s yet: %w", found.PID, strings.Join(u.Twin.Listens, ", "), ctx.Err())
			}
			return inject.Process{}, fmt.Errorf("no process runs in its place: %w", ctx.Err())
		}
	}
}
