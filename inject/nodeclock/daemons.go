package nodeclock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// names are the programs that set a clock, as the kernel cuts their names.
var names = map[string]bool{
	"chronyd": true, "ntpd": true, "openntpd": true, "systemd-timesyn": true, "phc2sys": true, "ptp4l": true, "timemaster": true,
}

// daemon is an NTP client that ran before the fault: a systemd unit, which is
// stopped and started, or a process without one, which is stopped and continued.
type daemon struct {
	Name    string         `json:"name"`
	Unit    string         `json:"unit,omitempty"`
	Process inject.Process `json:"process"`
}

func (d daemon) object() string {
	if d.Unit != "" {
		return fmt.Sprintf("systemd unit %s (%s): stopped, and started again at the end", d.Unit, d.Name)
	}
	return fmt.Sprintf("process %d (%s): SIGSTOP, and SIGCONT at the end", d.Process.PID, d.Name)
}

// findDaemons looks for the programs that would correct the clock, or be disturbed
// in their reckoning of it.
func findDaemons(ctx context.Context) ([]daemon, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("find NTP clients: %w", err)
	}
	var out []daemon
	seen := map[string]bool{}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		s, err := inject.ReadStat(pid)
		if err != nil || !names[s.Comm] || s.Dead() || s.Kernel() {
			continue
		}
		d := daemon{Name: s.Comm, Process: inject.Process{PID: pid, StartTime: s.StartTime}}
		if unit, group := unitOf(pid); unit != "" && managed(ctx, unit, group) {
			d.Unit = unit
		}
		switch {
		case d.Unit == "" && s.Stopped():
			continue // somebody has stopped it, and it stays so
		case d.Unit != "" && seen[d.Unit]:
			continue
		case d.Unit != "":
			if err := stopsAlone(ctx, d.Unit); err != nil {
				return nil, err
			}
			seen[d.Unit] = true
		}
		out = append(out, d)
	}
	return out, nil
}

// unitOf is the service that a process belongs to by the name of its control group, of
// this machine's systemd or of a container's.
func unitOf(pid int) (unit, group string) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "name=systemd" {
			continue
		}
		if unit := path.Base(f[2]); strings.HasSuffix(unit, ".service") {
			return unit, f[2]
		}
	}
	return "", ""
}

func pauseDaemons(ctx context.Context, all []daemon) error {
	for _, d := range all {
		err := error(nil)
		if d.Unit != "" {
			err = job(ctx, d.Unit, false)
		} else {
			err = stop(ctx, d.Process)
		}
		if err != nil && !errors.Is(err, inject.ErrGone) {
			return fmt.Errorf("pause %s: %w", d.Name, err)
		}
	}
	return nil
}

// resumeDaemons does nothing to one that runs; one failure does not stop the others.
func resumeDaemons(ctx context.Context, all []daemon) error {
	var errs []error
	for _, d := range all {
		err := error(nil)
		if d.Unit == "" {
			if err = signal(d.Process, unix.SIGCONT); errors.Is(err, inject.ErrGone) {
				err = nil
			}
		} else if !active(ctx, d.Unit) {
			if err = job(ctx, d.Unit, true); err == nil {
				err = awaitActive(ctx, d.Unit)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("let %s go on: %w", d.Name, err))
		}
	}
	return errors.Join(errs...)
}

// stopWait bounds how long a signalled process may run on: as long as a system call that
// cannot be interrupted, such as one on a slow disk.
const stopWait = 5 * time.Second

// stop returns once the process is stopped: until then it may set the clock once more.
func stop(ctx context.Context, p inject.Process) error {
	if err := signal(p, unix.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	for {
		s, err := inject.ReadStat(p.PID)
		if errors.Is(err, inject.ErrGone) || err == nil && (s.StartTime != p.StartTime || s.Dead()) {
			return inject.ErrGone
		}
		if err != nil || s.Stopped() {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d is in state %c after SIGSTOP: %w", p.PID, s.State, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

func signal(p inject.Process, s unix.Signal) error {
	fd, err := p.Open()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}
