package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// identity names one process for good: a pid alone may be used again.
type identity struct {
	Pid    int    `json:"pid"`
	Start  uint64 `json:"start"` // clock ticks since boot, field 22 of /proc/pid/stat
	BootID string `json:"boot_id"`
	// Namespaces of the keeper and its nodes, as /proc/pid/ns shows them.
	Namespaces []string `json:"namespaces,omitempty"`
}

// self returns this process's identity as the procfs at /proc knows it. A keeper
// asks before it mounts its own, and so learns its pid outside.
func self() (identity, error) {
	link, err := os.Readlink("/proc/self")
	if err != nil {
		return identity{}, fmt.Errorf("read own pid: %w", err)
	}
	pid, err := strconv.Atoi(link)
	if err != nil {
		return identity{}, fmt.Errorf("read own pid: %w", err)
	}
	start, err := startOf(pid)
	if err != nil {
		return identity{}, err
	}
	boot, err := bootID()
	return identity{Pid: pid, Start: start, BootID: boot}, err
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

func startOf(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read start time: %w", err)
	}
	// The second field is the command in parentheses and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start time: %d fields", len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func (p place) readKeeper() (id identity, err error) {
	data, err := os.ReadFile(p.file(keeperName))
	if err != nil {
		return id, fmt.Errorf("read keeper: %w", err)
	}
	if err := json.Unmarshal(data, &id); err != nil {
		return id, fmt.Errorf("read keeper: %w", err)
	}
	return id, nil
}

// writeKeeper replaces the file in one step, so that no reader sees half of it.
func (p place) writeKeeper(id identity) error {
	data, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("write keeper: %w", err)
	}
	if err := os.WriteFile(p.file(keeperName+".new"), data, 0o600); err != nil {
		return fmt.Errorf("write keeper: %w", err)
	}
	return os.Rename(p.file(keeperName+".new"), p.file(keeperName))
}

// errGone: the process has ended.
var errGone = errors.New("process is gone")

// openProcess returns a handle on exactly the process that id names, or errGone.
func openProcess(id identity) (pidfd *os.File, err error) {
	fd, err := unix.PidfdOpen(id.Pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", id.Pid, err)
	}
	pidfd = os.NewFile(uintptr(fd), "pidfd")
	defer func() {
		if err != nil {
			_ = pidfd.Close()
		}
	}()
	// The handle is held, so the pid cannot pass to another process between
	// this comparison and the use of the handle.
	start, err := startOf(id.Pid)
	boot, bootErr := bootID()
	if err != nil || bootErr != nil || start != id.Start || boot != id.BootID || ended(pidfd, 0) {
		return nil, errGone
	}
	return pidfd, nil
}

// ended waits for up to d for the process to end.
func ended(pidfd *os.File, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, int(d.Milliseconds()))
	return n == 1
}

// kill ends the process and waits until it is gone. For a keeper, that is when
// the kernel has ended every process below it too.
func kill(ctx context.Context, pidfd *os.File) error {
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill keeper: %w", err)
	}
	for !ended(pidfd, 20*time.Millisecond) {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for keeper to end: %w", ctx.Err())
		}
	}
	return nil
}
