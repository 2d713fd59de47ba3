package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// Resolved is what one fault of an audit would touch.
type Resolved struct {
	Probe  string
	Demand probes.Demand
	// Objects are the processes and kernel objects, in the words of the node's agent.
	Objects []string
	// Err says why the agent would not do it, or could not be asked.
	Err error
}

// Resolve has the agents prepare every fault of a schedule, which changes nothing,
// and calls each with what it would touch, in the order of an audit.
func Resolve(ctx context.Context, p *plan.Plan, s Schedule, each func(Resolved)) (err error) {
	peers(ctx, p, &s.Params, resolve)
	protect, err := protected(ctx, p, resolve)
	if err != nil {
		return err
	}
	r := resolver{protect: protect, agents: newAgents(p, func(ctx context.Context, n plan.Node) (*agent.Conn, error) {
		cmd := AgentCommand(n)
		cmd.Caller = agent.Caller{Plan: p.Name}
		return agent.Dial(ctx, cmd, nil)
	})}
	defer func() { err = errors.Join(err, r.agents.close(ctx, func(string, []string) {})) }()
	r.agents.all(ctx, s.nodes())
	for _, probe := range s.Probes {
		if probe.Demands == nil {
			continue
		}
		for _, d := range probe.Demands(s.Params) {
			objects, err := r.prepare(ctx, d)
			each(Resolved{probe.Name, d, objects, err})
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// resolver asks the agents.
type resolver struct {
	protect []string
	agents  *agents
}

func (r resolver) prepare(ctx context.Context, d probes.Demand) ([]string, error) {
	conn, err := r.agents.get(ctx, d.Node)
	if err != nil {
		return nil, err
	}
	if d.Client != "" {
		return []string{fmt.Sprintf("the process tree of lock client %s, which the agent starts in the audit: pids are known then", d.Client)}, nil
	}
	if d.Holder && d.Kind != partition {
		return []string{"the process that holds the lock then, with its children"}, nil
	}
	params := json.RawMessage(d.Params)
	if d.Kind == partition || d.Kind == hold {
		all := d.Cut.Peers
		for _, node := range d.PeerNodes {
			peer, err := r.agents.get(ctx, node)
			if err != nil {
				return nil, err
			}
			all = append(all, peer.Hello().Addresses...)
		}
		if params, err = partitionParams(all, d.Cut.Ports, d.Cut, r.protect); err != nil {
			return nil, err
		}
	}
	if params == nil {
		return []string{"the target is known in the audit"}, nil
	}
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	prepared, err := conn.Prepare(limited, inject.Spec{Kind: d.Kind, For: d.For, Params: params})
	if d.Cut.Client != "" && err == nil {
		whose := ", only packets of the audit's lock client " + d.Cut.Client
		if !d.Cut.Alone {
			whose += " if the agent can give it a control group of its own"
		}
		for i := range prepared.Objects {
			prepared.Objects[i] += whose
		}
	}
	if d.Holder {
		for i := range prepared.Objects {
			prepared.Objects[i] += ", only packets of the holder's control group if it is alone there"
		}
	}
	return prepared.Objects, err
}

// partitionParams are the parameters of a partition.
func partitionParams(peers []string, ports []int, c probes.Cut, protect []string) (json.RawMessage, error) {
	b, err := json.Marshal(struct {
		Peers     []string `json:"peers"`
		Ports     []int    `json:"ports,omitempty"`
		Direction string   `json:"direction,omitempty"`
		Protect   []string `json:"protect,omitempty"`
		Sever     bool     `json:"sever,omitempty"`
	}{peers, ports, c.Direction, protect, c.Sever})
	if err != nil {
		return nil, fmt.Errorf("encode partition: %w", err)
	}
	return b, nil
}
