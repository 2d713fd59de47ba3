package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Revert has the server started, unless it runs, and returns once a process in its
// place was seen that listens wherever the killed one did.
func (f *Fault) Revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	e, err := f.revert(ctx, p)
	if err != nil {
		return e, fmt.Errorf("revert crash: %w", err)
	}
	return e, nil
}

func (f *Fault) revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return inject.Effect{}, err
	}
	if err := p.SameBoot(); errors.Is(err, inject.ErrGone) {
		// Whatever starts the machine's services has started it, or has not: a start
		// out of its order would be no repair.
		return inject.Effect{Seen: "of an earlier boot, nothing of it exists any more"}, nil
	} else if err != nil {
		return inject.Effect{}, err
	}
	f.mu.Lock()
	h := f.plans[p.ID]
	f.mu.Unlock()
	if h == nil {
		return f.restore(ctx, p.ID, u)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var e inject.Effect
	switch {
	case h.standby == nil || h.killed == 0:
		// Nothing was killed, by us: the standby is sent away. What died meanwhile by
		// itself is not ours to start.
		if h.standby != nil {
			if err = h.standby.order(orderDrop); err == nil {
				err = gone(ctx, h.standby)
			}
		}
		e = inject.Effect{Seen: fmt.Sprintf("process %d (%s) was not killed", u.Server.PID, u.Comm)}
	default:
		if e, err = h.bringUp(ctx, u); err != nil {
			// Its standby is spent. Another one may succeed.
			e, err = f.restore(ctx, p.ID, u)
		}
	}
	if err != nil {
		return inject.Effect{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.plans, p.ID)
	if h.standby != nil {
		h.standby.close()
	}
	return e, nil
}

func (h *held) bringUp(ctx context.Context, u undo) (inject.Effect, error) {
	up, err := h.up(ctx, u)
	if err != nil {
		return inject.Effect{}, err
	}
	return inject.Effect{Seen: u.Twin.seen(up), Count: 1}, nil
}

func gone(ctx context.Context, s *standby) error {
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("standby does not end: %w", ctx.Err())
	}
}

// restore works from the plan alone. A standby that another process has left
// behind is let finish first, so that two never start a server each.
func (f *Fault) restore(ctx context.Context, id string, u undo) (inject.Effect, error) {
	if err := hasten(ctx, id); err != nil {
		return inject.Effect{}, err
	}
	alive, err := lives(u.Server)
	if err != nil {
		return inject.Effect{}, err
	}
	if alive {
		return inject.Effect{Seen: fmt.Sprintf("process %d (%s) runs and was not killed", u.Server.PID, u.Comm), Count: 1}, nil
	}
	failure := func() error { return nil }
	var by since
	found, _, err := u.find(ctx, by)
	if err != nil {
		return inject.Effect{}, err
	}
	if found == nil {
		s, err := startStandby(ctx, id, brief{Undo: u, Armed: true})
		if err != nil {
			return inject.Effect{}, err
		}
		defer s.close()
		failure, by.standby = s.failure, s.process.Pid
	}
	up, err := u.await(ctx, by, failure)
	if err != nil {
		return inject.Effect{}, err
	}
	return inject.Effect{Seen: u.Twin.seen(up), Count: 1}, nil
}

// lives reports whether the server still runs. One that has a SIGKILL under way is
// waited for: whoever sent it may have died just then.
func lives(p inject.Process) (bool, error) {
	fd, err := p.Open()
	if errors.Is(err, inject.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if !doomed(p.PID) {
		return waitDeath(fd, 0) != nil, nil
	}
	if err := waitDeath(fd, deathWait); err != nil {
		return false, fmt.Errorf("process %d has been killed: %w", p.PID, err)
	}
	return false, nil
}

// doomed reports a pending SIGKILL of the process or of its first thread.
func doomed(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 2 || f[0] != "SigPnd:" && f[0] != "ShdPnd:" {
			continue
		}
		if set, err := strconv.ParseUint(f[1], 16, 64); err == nil && set&(1<<(uint(unix.SIGKILL)-1)) != 0 {
			return true
		}
	}
	return false
}
