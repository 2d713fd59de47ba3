package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// pause stops the client's process for at most d.
func (p *party) pause(ctx context.Context, d time.Duration) (faultID string, err error) {
	return p.t.pause(ctx, p.name, p.proc.Node(), p.proc, d)
}

// resume ends the pause; it runs also when the audit is being stopped.
func (p *party) resume(ctx context.Context, faultID string) error {
	return p.t.resume(ctx, p.name, p.proc.Node(), p.proc, faultID)
}

func (t *Trial) pause(ctx context.Context, name, node string, proc Pauser, d time.Duration) (faultID string, err error) {
	fault, err := t.inject(ctx, history.Fault{Kind: "pause", Node: node, Target: name, For: d}, func(ctx context.Context) (history.Fault, error) {
		return proc.Pause(ctx, d)
	})
	if err != nil {
		return "", fmt.Errorf("pause %s: %w", name, err)
	}
	return fault.ID, nil
}

func (t *Trial) resume(ctx context.Context, name, node string, proc Pauser, faultID string) error {
	_, err := t.revert(ctx, history.Fault{ID: faultID, Kind: "pause", Node: node, Target: name}, func(ctx context.Context) (history.Fault, error) {
		return proc.Resume(ctx, faultID)
	})
	if err != nil {
		return fmt.Errorf("resume %s: %w", name, err)
	}
	return nil
}

// inject records a fault, orders it, and records what came of it.
func (t *Trial) inject(ctx context.Context, f history.Fault, order func(context.Context) (history.Fault, error)) (history.Fault, error) {
	e := history.Event{Actor: "agent", Node: f.Node, Op: history.OpInject, Type: history.Invoke, Fault: &f}
	invoke := t.record(e)
	if err := t.unrecorded(); err != nil {
		return history.Fault{}, err
	}
	agentCtx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	fault, err := order(agentCtx)
	t.record(faultDone(e, invoke, f.Target, fault, err))
	return fault, err
}

// revert is inject for the end of a fault; it is ordered also when the audit is being
// stopped.
func (t *Trial) revert(ctx context.Context, f history.Fault, order func(context.Context) (history.Fault, error)) (history.Fault, error) {
	e := history.Event{Actor: "agent", Node: f.Node, Op: history.OpRevert, Type: history.Invoke, Fault: &f}
	invoke := t.record(e)
	agentCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), agentLimit)
	defer cancel()
	fault, err := order(agentCtx)
	t.record(faultDone(e, invoke, f.Target, fault, err))
	return fault, err
}

func faultDone(e, invoke history.Event, target string, fault history.Fault, err error) history.Event {
	e.Type, e.Call = history.OK, invoke.Seq
	if err != nil {
		e.Type, e.Err = history.Info, err.Error()
		return e
	}
	fault.Target = target
	e.Fault = &fault
	return e
}

// kill ends the client's process with SIGKILL.
func (p *party) kill(ctx context.Context) error {
	e := p.event(history.OpKill, history.Invoke)
	invoke := p.t.record(e)
	agentCtx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	err := p.proc.Kill(agentCtx)
	e.Type, e.Call = history.OK, invoke.Seq
	if err != nil {
		e.Type, e.Err = history.Info, err.Error()
	}
	p.t.record(e)
	if err != nil {
		return fmt.Errorf("kill client %s: %w", p.name, err)
	}
	return nil
}
