package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Systemd connects to the system manager: root by its private socket, which needs
// no bus daemon, others by the system bus. The caller closes it.
func Systemd(ctx context.Context) (*dbus.Conn, error) {
	var private error
	if os.Geteuid() == 0 {
		c, err := dbus.NewSystemdConnectionContext(ctx)
		if err == nil {
			return c, nil
		}
		private = err
	}
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w: %w", errors.Join(private, err), inject.ErrUnsupported)
	}
	return c, nil
}

// inUnit asks systemd for a service's main process, or looks for the first
// process of a scope, which has none.
func inUnit(ctx context.Context, unit string) ([]candidate, error) {
	c, err := Systemd(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	p, err := c.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return nil, fmt.Errorf("ask systemd: %w", err)
	}
	if load := text(p["LoadState"]); load != "loaded" {
		return nil, fmt.Errorf("systemd says %s: %w", load, ErrNone)
	}
	if state := text(p["ActiveState"]); state == "inactive" || state == "failed" {
		return nil, fmt.Errorf("it is %s: %w", state, ErrNone)
	}
	kind := "Service"
	if strings.HasSuffix(unit, ".scope") {
		kind = "Scope"
	}
	p, err = c.GetUnitTypePropertiesContext(ctx, unit, kind)
	if err != nil {
		return nil, fmt.Errorf("ask systemd: %w", err)
	}
	cgroup := text(p["ControlGroup"])
	if cgroup == "" {
		return nil, fmt.Errorf("it has no processes: %w", ErrNone)
	}
	if main, _ := p["MainPID"].(uint32); main != 0 {
		return mainProcess(int(main), unit, cgroup)
	}
	if kind == "Service" {
		return nil, fmt.Errorf("it has no main process: %w", ErrNone)
	}
	members, err := all(ctx, func(c candidate) bool { return within(c.PID, cgroup) })
	return heads(members), err
}

// mainProcess checks that systemd's number means the same here: seen from another
// pid namespace it is somebody else's.
func mainProcess(pid int, unit, cgroup string) ([]candidate, error) {
	c, err := look(pid)
	if err != nil {
		return nil, err
	}
	if !within(pid, cgroup) {
		return nil, fmt.Errorf("systemd says process %d, which is not in %s here (%v): is this another pid namespace?: %w", pid, cgroup, c, inject.ErrRefused)
	}
	c.Unit = unit
	return []candidate{c}, nil
}

// within reports that a process is in the cgroup or below, in whichever hierarchy
// systemd uses.
func within(pid int, cgroup string) bool {
	groups, err := cgroupsOf(pid)
	if err != nil {
		return false
	}
	for _, controllers := range []string{"", "name=systemd"} {
		if g := groups[controllers]; g == cgroup || strings.HasPrefix(g, path.Clean(cgroup)+"/") {
			return true
		}
	}
	return false
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
