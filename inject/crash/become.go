package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// become turns this process into the server. It returns only with an error.
//
// Files are opened and programs looked at with the rights of the server: whoever
// owns it must not be able to have root open another file in their place.
func (im image) become() error {
	runtime.LockOSThread() // priorities are a thread's own, and execve keeps this one's
	// A server with a limit or a priority too few is better than none.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, im.Nice)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(im.OOM), 0)
	for what, l := range im.Limits {
		_ = unix.Setrlimit(what, &unix.Rlimit{Cur: l.Soft, Max: l.Hard})
	}
	if err := im.setUsers(); err != nil {
		return err
	}
	unix.Umask(im.Umask)
	for fd, path := range map[int]string{1: im.Stdout, 2: im.Stderr} {
		if path == "" {
			continue // /dev/null already
		}
		log, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOCTTY|unix.O_CLOEXEC, 0o640)
		if err != nil {
			continue // it was opened with other rights: a server without its log is better than none
		}
		if err := unix.Dup3(log, fd, 0); err != nil {
			return fmt.Errorf("open %s for the server: %w", path, err)
		}
	}
	if err := unix.Chdir(im.Dir); err != nil {
		return fmt.Errorf("enter %s for the server: %w", im.Dir, err)
	}
	closeOnExec()
	return fmt.Errorf("execute %s: %w", im.Exe, syscall.Exec(im.Exe, im.Argv, im.Env))
}

// setUsers changes only what differs: in a user namespace even the same groups may
// not be set.
func (im image) setUsers() error {
	have, err := unix.Getgroups()
	if err != nil {
		return fmt.Errorf("read groups: %w", err)
	}
	if os.Getuid() == int(im.UID) && os.Getgid() == int(im.GID) && sameGroups(have, im.Groups) {
		return nil
	}
	groups := make([]int, 0, len(im.Groups))
	for _, g := range im.Groups {
		groups = append(groups, int(g))
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set groups of the server: %w", err)
	}
	if err := syscall.Setresgid(int(im.GID), int(im.GID), int(im.GID)); err != nil {
		return fmt.Errorf("set gid %d of the server: %w", im.GID, err)
	}
	if err := syscall.Setresuid(int(im.UID), int(im.UID), int(im.UID)); err != nil {
		return fmt.Errorf("set uid %d of the server: %w", im.UID, err)
	}
	return nil
}

func sameGroups(have []int, want []uint32) bool {
	set := map[int]bool{}
	for _, g := range have {
		set[g] = true
	}
	for _, g := range want {
		if !set[int(g)] {
			return false
		}
	}
	return len(have) == len(want)
}

// closeOnExec leaves the server nothing but its stdio: the guard had inherited the
// lock of the journal's directory, say, which the server would hold for ever.
func closeOnExec() {
	if unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	dir, err := os.ReadDir("/proc/self/fd") // before kernel 5.11
	if err != nil {
		return
	}
	for _, e := range dir {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// joinCgroup goes where the server was, if it still can: a server in the cgroup of
// an ssh session or of the agent's unit would end with them. Where it cannot, a
// server there is better than none.
func joinCgroup(path string) {
	if path == "" {
		return
	}
	m, err := target.CgroupMount()
	if err != nil {
		return
	}
	if dir, err := m.Path(path); err == nil {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
	}
}
