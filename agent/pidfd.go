package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// signalGroup is PIDFD_SIGNAL_PROCESS_GROUP of linux/pidfd.h, kernel 6.9.
const signalGroup = 1 << 2

// killGroup sends SIGKILL to the process group that the process leads. With a
// kernel that can, it reaches the group of exactly this leader even if the leader
// is gone; with an older one only while the leader lives, because a bare number
// could by then mean somebody else's group.
func killGroup(pidfd, pid int) error {
	err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, signalGroup)
	if err == unix.EINVAL && !exited(pidfd) {
		err = unix.Kill(-pid, unix.SIGKILL)
	}
	if err != nil && err != unix.ESRCH && err != unix.EINVAL {
		return fmt.Errorf("kill process group %d: %w", pid, err)
	}
	return nil
}

func exited(pidfd int) bool { return pollExit(pidfd, 0) }

// pollExit waits up to ms milliseconds for the end of the process.
func pollExit(pidfd, ms int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, ms)
	return err == nil && n > 0
}

func waitExit(ctx context.Context, pidfd int) error {
	for !pollExit(pidfd, 20) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// watched is a client process that the guard ends when the agent is gone.
type watched struct {
	inject.Process
	pidfd int
}

func (g *guard) watchClient(p inject.Process) error {
	fd, err := p.Open()
	if errors.Is(err, inject.ErrGone) {
		return nil // it was short
	}
	if err != nil {
		return fmt.Errorf("watch client: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	live := g.clients[:0]
	for _, c := range g.clients {
		if exited(c.pidfd) {
			unix.Close(c.pidfd)
			continue
		}
		live = append(live, c)
	}
	g.clients = append(live, watched{p, fd})
	return nil
}

// endClients runs after the reverts: nothing of the audit outlives its agent.
func (g *guard) endClients() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience/2)
	defer cancel()
	var errs []error
	for _, c := range g.clients {
		errs = append(errs, killGroup(c.pidfd, c.PID))
		if err := waitExit(ctx, c.pidfd); err != nil {
			errs = append(errs, fmt.Errorf("end client %d: %w", c.PID, err))
		}
		unix.Close(c.pidfd)
	}
	g.clients = nil
	return errors.Join(errs...)
}
