package nodeclock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// unitWait bounds one job of systemd.
const unitWait = 20 * time.Second

// managed reports that this machine's systemd runs the unit in that control group, be it
// that it is about to start.
func managed(ctx context.Context, unit, group string) bool {
	state, err := stateOf(ctx, unit)
	if err != nil || !up(state) {
		return false
	}
	own, err := property(ctx, unit, "Service", "ControlGroup")
	return err == nil && own == group
}

func up(state string) bool {
	return state == "active" || state == "activating" || state == "reloading"
}

// stopsAlone refuses a unit with which systemd would stop another one, that nobody
// would start again.
func stopsAlone(ctx context.Context, unit string) error {
	p, err := property(ctx, unit, "Unit", "BoundBy")
	if err != nil {
		return err
	}
	bound, _ := p.([]string)
	for _, other := range bound {
		if state, err := stateOf(ctx, other); err != nil || up(state) {
			return errors.Join(fmt.Errorf("systemd would stop %s with %s, to which it is bound: %w", other, unit, inject.ErrRefused), err)
		}
	}
	return nil
}

func active(ctx context.Context, unit string) bool {
	state, err := stateOf(ctx, unit)
	return err == nil && state == "active"
}

func stateOf(ctx context.Context, unit string) (string, error) {
	p, err := property(ctx, unit, "Unit", "ActiveState")
	state, _ := p.(string)
	return state, err
}

func property(ctx context.Context, unit, kind, name string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, unitWait)
	defer cancel()
	c, err := target.Systemd(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	p, err := c.GetUnitTypePropertyContext(ctx, unit, kind, name)
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s of %s: %w", name, unit, err)
	}
	return p.Value.Value(), nil
}

// Modes of a job. A stop leaves alone what requires the unit (Requires=, PartOf=): it
// would be stopped too, and not started with it. BindsTo= is for stopsAlone.
const (
	stopMode  = "ignore-dependencies"
	startMode = "replace"
)

// job has systemd stop or start a unit and waits until it is done.
func job(ctx context.Context, unit string, start bool) error {
	ctx, cancel := context.WithTimeout(ctx, unitWait)
	defer cancel()
	c, err := target.Systemd(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	word, mode, order := "stop", stopMode, c.StopUnitContext
	if start {
		word, mode, order = "start", startMode, c.StartUnitContext
	}
	done := make(chan string, 1)
	if _, err := order(ctx, unit, mode, done); err != nil {
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
