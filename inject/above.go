package inject

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// envCaller names the process at the other end of a socket by which orders come:
// systemd starts an agent for it, so it is not among the agent's ancestors.
const envCaller = "LOCKAUDIT_CALLER"

// Above are this process, its ancestors, and the process on whose behalf it works
// with its own: the hand that holds a fault and the way to it. A parent outside of
// this pid namespace ends a line.
func Above() ([]int, error) {
	var out []int
	seen := map[int]bool{}
	lines := []int{os.Getpid()}
	var c Process
	if _, err := fmt.Sscanf(os.Getenv(envCaller), "%d:%d", &c.PID, &c.StartTime); err == nil {
		if s, err := ReadStat(c.PID); err == nil && s.StartTime == c.StartTime {
			lines = append(lines, c.PID)
		}
	}
	for _, pid := range lines {
		for pid > 0 && !seen[pid] {
			seen[pid] = true
			out = append(out, pid)
			s, err := ReadStat(pid)
			if notThere(err) {
				break
			}
			if err != nil {
				return out, err
			}
			pid = s.PPID
		}
	}
	return out, nil
}

// NoteCaller tells this process and those it starts who is at the other end, if in
// is a unix socket.
func NoteCaller(in *os.File) error {
	c, err := unix.GetsockoptUcred(int(in.Fd()), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || c.Pid <= 0 {
		return nil // no socket, or a caller outside of this pid namespace
	}
	s, err := ReadStat(int(c.Pid))
	if err != nil {
		return nil // it is gone, and its orders end
	}
	return os.Setenv(envCaller, fmt.Sprintf("%d:%d", c.Pid, s.StartTime))
}
