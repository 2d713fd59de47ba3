package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// clockFault is the fault's kind.
const clockFault = "clock"

// clockNodes are the lock nodes whose servers may be shown a wrong time: the plan
// names the process, and permits it.
func clockNodes(p *plan.Plan, params *probes.Params) {
	if !p.Safety.Allows(plan.AllowServerClock) {
		return
	}
	params.ClockNodes = params.Killable
	if n := len(params.LockNodes)/2 + 1; params.ClientVotes && len(params.ClockNodes) > n {
		params.ClockNodes = params.ClockNodes[:n] // more than a majority is not needed
	}
}

// SkewServer implements probes.Stage.
func (s *stage) SkewServer(ctx context.Context, node string, k probes.Skew) (history.Fault, error) {
	if !slices.Contains(s.schedule.Params.ClockNodes, node) {
		return history.Fault{}, fmt.Errorf("%w: the plan does not permit a wrong clock of the lock server on node %s", probes.ErrSkip, node)
	}
	for _, n := range s.plan.Nodes {
		if n.Name != node {
			continue
		}
		who, err := n.Process.Selector()
		if err != nil {
			return history.Fault{}, err
		}
		conn, err := s.node(ctx, node)
		if err != nil {
			return history.Fault{}, err
		}
		return skew(ctx, s.blast, conn, node, who, k)
	}
	return history.Fault{}, fmt.Errorf("skew clock: the plan has no node %q", node)
}

// Skew implements probes.Process.
func (p *process) Skew(ctx context.Context, k probes.Skew) (history.Fault, error) {
	who := struct {
		PID       int    `json:"pid"`
		StartTime uint64 `json:"start_time"`
	}{p.proc.PID, p.proc.StartTime}
	return skew(ctx, p.blast, p.agent, p.node, who, k)
}

func skew(ctx context.Context, b *blast, conn *agent.Conn, node string, who any, k probes.Skew) (history.Fault, error) {
	params, err := k.Params(who)
	if err != nil {
		return history.Fault{}, err
	}
	spec := inject.Spec{Kind: clockFault, For: k.For, Params: params}
	f, err := b.order(ctx, conn, node, spec, false)
	switch {
	case errors.Is(err, inject.ErrUnsupported), errors.Is(err, inject.ErrRefused):
		return history.Fault{}, fmt.Errorf("%w: %w", probes.ErrSkip, err)
	case err != nil:
		return history.Fault{}, err
	}
	return b.entry(f, node, spec), nil
}

// Unskew implements probes.Stage.
func (s *stage) Unskew(ctx context.Context, node, faultID string) (history.Fault, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return history.Fault{}, err
	}
	effect, err := conn.Revert(ctx, faultID)
	if err != nil {
		return history.Fault{}, err
	}
	s.blast.ended(faultID)
	return history.Fault{ID: faultID, Kind: clockFault, Node: node, Seen: effect.Seen, Why: "order"}, nil
}
