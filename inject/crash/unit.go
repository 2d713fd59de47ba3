package crash

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"github.com/coreos/go-systemd/v22/dbus"
)

// unitWait bounds systemd's start of a unit, for a standby that nobody waits for.
const unitWait = time.Minute

// mainOf reports whether the process is the main process of a service, as systemd
// says. Without systemd nothing is.
func mainOf(ctx context.Context, t target.Target) (bool, error) {
	if !strings.HasSuffix(t.Unit, ".service") {
		return false, nil
	}
	c, err := target.Systemd(ctx)
	if errors.Is(err, inject.ErrUnsupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer c.Close()
	pid, _, err := mainPID(ctx, c, t.Unit)
	return pid == t.PID, err
}

// mainPID is a service's main process and its state in systemd's word.
func mainPID(ctx context.Context, c *dbus.Conn, unit string) (pid int, state string, err error) {
	p, err := c.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return 0, "", fmt.Errorf("ask systemd about %s: %w", unit, err)
	}
	state, _ = p.Value.Value().(string)
	if p, err = c.GetServicePropertyContext(ctx, unit, "MainPID"); err != nil {
		return 0, state, fmt.Errorf("ask systemd about %s: %w", unit, err)
	}
	main, _ := p.Value.Value().(uint32)
	return int(main), state, nil
}

// startUnit has systemd start the unit unless its Restart= does, and returns once
// it is active with another main process than the killed one.
func startUnit(ctx context.Context, u undo) error {
	c, err := target.Systemd(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		pid, state, err := mainPID(ctx, c, u.Unit)
		if err != nil {
			return err
		}
		switch {
		case state == "active" && pid != 0 && pid != u.Server.PID:
			return nil
		case state == "failed", state == "inactive":
			// Failed may mean that it was started too often: that is forgiven, because
			// it was we who killed it.
			_ = c.ResetFailedUnitContext(ctx, u.Unit)
			done := make(chan string, 1)
			if _, err := c.StartUnitContext(ctx, u.Unit, "replace", done); err != nil {
				return fmt.Errorf("start %s: %w", u.Unit, err)
			}
			select {
			case result := <-done:
				if result != "done" {
					return fmt.Errorf("start %s: systemd says %s", u.Unit, result)
				}
			case <-ctx.Done():
				return fmt.Errorf("start %s: %w", u.Unit, ctx.Err())
			}
		}
		select {
		case <-time.After(20 * time.Millisecond): // systemd has not seen the death yet, or is at work
		case <-ctx.Done():
			return fmt.Errorf("wait for %s, which is %s: %w", u.Unit, state, ctx.Err())
		}
	}
}
