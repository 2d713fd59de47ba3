package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// holders are the processes that hold the lock of a state directory: an agent, its
// guard. Whoever merely has the file open, to wait for the lock, is none. The
// kernel says so in fdinfo, where the lock is listed with the open file that has it.
func holders(stateDir string) []inject.Process {
	want, err := os.Stat(filepath.Join(stateDir, "lock"))
	if err != nil {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []inject.Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		fds, _ := os.ReadDir(dir + "/fd")
		for _, fd := range fds {
			st, err := os.Stat(dir + "/fd/" + fd.Name())
			if err != nil || !os.SameFile(st, want) {
				continue
			}
			info, err := os.ReadFile(dir + "/fdinfo/" + fd.Name())
			if err != nil || !strings.Contains(string(info), "FLOCK") {
				continue
			}
			if s, err := inject.ReadStat(pid); err == nil && !s.Dead() {
				out = append(out, inject.Process{PID: pid, StartTime: s.StartTime})
				break
			}
		}
	}
	return out
}

// anyStopped says that one of them cannot act: it is stopped, or being traced.
func anyStopped(list []inject.Process) bool {
	for _, p := range list {
		if s, err := inject.ReadStat(p.PID); err == nil && s.StartTime == p.StartTime && s.Stopped() {
			return true
		}
	}
	return false
}

// endHolders kills exactly these processes and waits until they are gone: the
// kernel then undoes what it can, and the lock is free.
func endHolders(list []inject.Process) error {
	var errs []error
	for _, p := range list {
		fd, err := p.Open()
		if errors.Is(err, inject.ErrGone) {
			continue
		}
		if err == nil {
			err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			if err == nil {
				err = awaitExit(fd, grace*4)
			}
			unix.Close(fd)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill agent process %d: %w", p.PID, err))
		}
	}
	return errors.Join(errs...)
}

// awaitExit waits for the end of a process by its pidfd.
func awaitExit(fd int, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("it did not end within %v", limit)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return err
		}
	}
}
