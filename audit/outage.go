package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// The faults' kinds.
const (
	crash = "crash"
	hook  = "hook"
)

// startPatience is how long a lock server may take to listen again after its
// start: a database that was killed reads its log first.
const startPatience = 20 * time.Second

// outages fills in which lock servers may be killed, and how else the service can
// fail over.
func outages(p *plan.Plan, params *probes.Params) {
	for _, n := range p.Nodes {
		if n.Has(plan.RoleLock) && !n.Process.IsZero() {
			params.Killable = append(params.Killable, n.Name)
		}
	}
	if h, ok := p.Hooks[plan.Failover]; ok {
		params.FailoverNode = h.Node
		params.Failover = fmt.Sprintf("%q on %s, and %q to revert it", strings.Join(h.Inject, " "), h.Node, strings.Join(h.Revert, " "))
	}
}

// crashParams are those of the crash of a node's lock server.
func crashParams(n plan.Node, o probes.Outage) (json.RawMessage, error) {
	process, err := n.Process.Selector()
	if err != nil {
		return nil, fmt.Errorf("encode crash: %w", err)
	}
	type restart struct {
		Argv []string `json:"argv"`
	}
	p := struct {
		Target  json.RawMessage `json:"target"`
		DownFor time.Duration   `json:"down_for,omitempty"`
		Restart *restart        `json:"restart,omitempty"`
	}{Target: process, DownFor: o.For}
	if o.AtOnce {
		p.DownFor = 0
	}
	if len(n.Restart) > 0 {
		p.Restart = &restart{n.Restart}
	}
	return json.Marshal(p)
}

// Crash implements probes.Stage.
func (s *stage) Crash(ctx context.Context, node string, o probes.Outage) (history.Fault, error) {
	for _, n := range s.plan.Nodes {
		if n.Name != node || n.Process.IsZero() {
			continue
		}
		params, err := crashParams(n, o)
		if err != nil {
			return history.Fault{}, err
		}
		return s.outage(ctx, node, inject.Spec{Kind: crash, For: o.For, Patience: startPatience, Params: params})
	}
	return history.Fault{}, fmt.Errorf("%w: the plan does not name the lock server's process on node %s", probes.ErrSkip, node)
}

// Hook implements probes.Stage.
func (s *stage) Hook(ctx context.Context, name string, limit time.Duration) (history.Fault, error) {
	h, ok := s.plan.Hooks[name]
	if !ok {
		return history.Fault{}, fmt.Errorf("%w: the plan has no hook %s", probes.ErrSkip, name)
	}
	spec, err := HookSpec(h, limit)
	if err != nil {
		return history.Fault{}, err
	}
	return s.outage(ctx, h.Node, spec)
}

// HookSpec is the order for a plan's hook.
func HookSpec(h plan.Hook, limit time.Duration) (inject.Spec, error) {
	params, err := json.Marshal(struct {
		Inject  []string      `json:"inject"`
		Revert  []string      `json:"revert"`
		Check   []string      `json:"check,omitempty"`
		Timeout time.Duration `json:"timeout"`
	}{h.Inject, h.Revert, h.Check, h.Timeout})
	if err != nil {
		return inject.Spec{}, fmt.Errorf("encode hook: %w", err)
	}
	// A revert is followed by its check.
	return inject.Spec{Kind: hook, For: limit, Patience: 2 * h.Timeout, Params: params}, nil
}

func (s *stage) outage(ctx context.Context, node string, spec inject.Spec) (history.Fault, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return history.Fault{}, err
	}
	f, err := s.blast.order(ctx, conn, node, spec, spec.Kind == crash)
	switch {
	case errors.Is(err, inject.ErrUnsupported), errors.Is(err, inject.ErrRefused):
		return history.Fault{}, fmt.Errorf("%w: %w", probes.ErrSkip, err)
	case err != nil:
		return history.Fault{}, err
	}
	return s.blast.entry(f, node, spec), nil
}

// End implements probes.Stage.
func (s *stage) End(ctx context.Context, node, kind, faultID string) (history.Fault, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return history.Fault{}, err
	}
	effect, err := conn.Revert(ctx, faultID)
	if err != nil {
		return history.Fault{}, err
	}
	s.blast.ended(faultID)
	return history.Fault{ID: faultID, Kind: kind, Node: node, Seen: effect.Seen, Why: "order"}, nil
}
