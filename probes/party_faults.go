package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// pause stops the client's process for at most d.
func (p *party) pause(ctx context.Context, d time.Duration) (faultID string, err error) {
	e := history.Event{Actor: "agent", Node: p.proc.Node(), Op: history.OpInject, Type: history.Invoke}
	e.Fault = &history.Fault{Kind: "pause", Node: p.proc.Node(), Target: p.name, For: d}
	invoke := p.t.record(e)
	if err := p.t.unrecorded(); err != nil {
		return "", err
	}
	agentCtx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	fault, err := p.proc.Pause(agentCtx, d)
	p.t.record(faultDone(e, invoke, p.name, fault, err))
	if err != nil {
		return "", fmt.Errorf("pause client %s: %w", p.name, err)
	}
	return fault.ID, nil
}

// resume ends the pause; it runs also when the audit is being stopped.
func (p *party) resume(ctx context.Context, faultID string) error {
	e := history.Event{Actor: "agent", Node: p.proc.Node(), Op: history.OpRevert, Type: history.Invoke}
	e.Fault = &history.Fault{ID: faultID, Kind: "pause", Node: p.proc.Node(), Target: p.name}
	invoke := p.t.record(e)
	agentCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), agentLimit)
	defer cancel()
	fault, err := p.proc.Resume(agentCtx, faultID)
	p.t.record(faultDone(e, invoke, p.name, fault, err))
	if err != nil {
		return fmt.Errorf("resume client %s: %w", p.name, err)
	}
	return nil
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
