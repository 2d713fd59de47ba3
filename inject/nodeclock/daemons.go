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
	"github.com/lockaudit/lockaudit/inject/target"

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

// unitWait bounds one job of systemd.
const unitWait = 20 * time.Second

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
		d := daemon{Name: s.Comm, Process: inject.Process{PID: pid, StartTime: s.StartTime}, Unit: unitOf(pid)}
		if d.Unit != "" && seen[d.Unit] {
			continue
		}
		seen[d.Unit] = true
		if d.Unit == "" && s.Stopped() {
			continue // somebody has stopped it, and it stays so
		}
		if d.Unit != "" && !managed(ctx, d.Unit) {
			d.Unit = "" // of a container's systemd, or of one that cannot be asked
		}
		out = append(out, d)
	}
	return out, nil
}

// unitOf is the service that a process belongs to, by its control group.
func unitOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "name=systemd" {
			continue
		}
		if unit := path.Base(f[2]); strings.HasSuffix(unit, ".service") {
			return unit
		}
	}
	return ""
}

// managed reports that systemd runs the unit, be it that it is about to start.
func managed(ctx context.Context, unit string) bool {
	state, err := stateOf(ctx, unit)
	return err == nil && (state == "active" || state == "activating" || state == "reloading")
}

func active(ctx context.Context, unit string) bool {
	state, err := stateOf(ctx, unit)
	return err == nil && state == "active"
}

func stateOf(ctx context.Context, unit string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, unitWait)
	defer cancel()
	c, err := target.Systemd(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	p, err := c.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return "", fmt.Errorf("ask systemd for %s: %w", unit, err)
	}
	state, _ := p.Value.Value().(string)
	return state, nil
}

// job has systemd stop or start a unit and waits until it is done.
func job(ctx context.Context, unit string, start bool) error {
	ctx, cancel := context.WithTimeout(ctx, unitWait)
	defer cancel()
	c, err := target.Systemd(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	word, order := "stop", c.StopUnitContext
	if start {
		word, order = "start", c.StartUnitContext
	}
	done := make(chan string, 1)
	if _, err := order(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("%s %s: %w", word, unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%s %s: systemd says %s", word, unit, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", word, unit, ctx.Err())
	}
}

func pauseDaemons(ctx context.Context, all []daemon) error {
	for _, d := range all {
		err := error(nil)
		if d.Unit != "" {
			err = job(ctx, d.Unit, false)
		} else {
			err = signal(d.Process, unix.SIGSTOP)
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

// awaitActive lets a daemon that fails at its first start be started again by systemd.
func awaitActive(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, unitWait)
	defer cancel()
	for {
		state, err := stateOf(ctx, unit)
		switch {
		case err != nil:
			return err
		case state == "active":
			return nil
		case state != "activating" && state != "reloading":
			return fmt.Errorf("%s was started and is %s", unit, state)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s was started and is still %s: %w", unit, state, ctx.Err())
		case <-time.After(20 * time.Millisecond):
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
