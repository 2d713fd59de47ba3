package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/probes"
)

// partition is the fault's kind.
const partition = "partition"

// hold is the kind of a fault that delivers late.
const hold = "hold"

// node returns the connection to a node's agent.
func (s *stage) node(ctx context.Context, name string) (*agent.Conn, error) {
	return s.agents.get(ctx, name)
}

// Partition implements probes.Stage. A client's packets alone are cut where its node
// can tell them from others; whatever keeps it from that, the fallback is the node.
func (s *stage) Partition(ctx context.Context, node string, c probes.Cut) (history.Fault, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return history.Fault{}, err
	}
	peers, own := apart(c.Peers, conn.Hello().Addresses)
	if len(peers) == 0 {
		return history.Fault{}, fmt.Errorf("%w: every server to cut %s off from is on that node itself", probes.ErrSkip, node)
	}
	if len(own) > 0 && (c.Alone || c.Hold) {
		return history.Fault{}, fmt.Errorf("%w: %s is on node %s itself", probes.ErrSkip, strings.Join(own, ", "), node)
	}
	ports := c.Ports
	if len(own) > 0 {
		ports = nil // the servers speak to each other by other ports than to clients
	}
	params, err := partitionParams(peers, ports, c, s.blast.protect)
	if err != nil {
		return history.Fault{}, err
	}
	spec := inject.Spec{Kind: partition, For: c.For, Params: params}
	if c.Hold {
		spec.Kind = hold
	}
	out := history.Fault{Kind: spec.Kind, Node: node, For: c.For}
	var f agent.Fault
	if c.Client == "" && c.Instance == nil || len(own) > 0 { // a server on the node is cut off with it
		f, err = s.blast.order(ctx, conn, node, spec, false)
	} else {
		out.Scope = scopeProcess
		f, err = s.cutProcess(ctx, conn, node, c, spec)
		if cannot(err) && !c.Alone {
			why := err
			out.Scope = scopeNode
			f, err = s.blast.order(ctx, conn, node, spec, false)
			f.Effect.Seen += fmt.Sprintf(" (the whole node's: %v)", why)
		}
	}
	switch {
	case cannot(err):
		return history.Fault{}, fmt.Errorf("%w: %w", probes.ErrSkip, err)
	case err != nil:
		return history.Fault{}, err
	}
	scope := out.Scope
	out = s.blast.entry(f, node, spec)
	out.Scope = scope
	if len(own) > 0 {
		out.Seen += "; " + strings.Join(own, ", ") + " is on the node itself and was cut off from the others with it, on all ports"
	}
	return out, nil
}

// apart tells peers from a node's own addresses. A server on the node itself cannot be
// cut off from it; with the node it is cut off from the other servers, so that one of
// a cluster has no quorum any more. Whether that is so, the trial shows.
func apart(peers, addresses []string) (others, own []string) {
	for _, p := range peers {
		if slices.Contains(addresses, p) {
			own = append(own, p)
		} else {
			others = append(others, p)
		}
	}
	return others, own
}

// What a fault's scope is called in the history.
const (
	scopeProcess = "process"
	scopeNode    = "node"
)

func cannot(err error) bool {
	return errors.Is(err, inject.ErrUnsupported) || errors.Is(err, inject.ErrRefused)
}

// cutProcess orders the fault for the packets of one lock client, or of one process of
// the application.
func (s *stage) cutProcess(ctx context.Context, conn *agent.Conn, node string, c probes.Cut, spec inject.Spec) (agent.Fault, error) {
	var process inject.Process
	if i, ok := c.Instance.(instance); ok {
		process = i.process
	} else {
		s.mu.Lock()
		p := s.clients[c.Client]
		s.mu.Unlock()
		if p == nil {
			return agent.Fault{}, fmt.Errorf("cut client %s: it does not run", c.Client)
		}
		process = p.process
	}
	var params map[string]any
	if err := json.Unmarshal(spec.Params, &params); err != nil {
		return agent.Fault{}, fmt.Errorf("cut process %d: %w", process.PID, err)
	}
	params["process"] = process
	var err error
	if spec.Params, err = json.Marshal(params); err != nil {
		return agent.Fault{}, fmt.Errorf("cut process %d: %w", process.PID, err)
	}
	return s.blast.order(ctx, conn, node, spec, false)
}

// Heal implements probes.Stage.
func (s *stage) Heal(ctx context.Context, node, faultID string) (history.Fault, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return history.Fault{}, err
	}
	effect, err := conn.Revert(ctx, faultID)
	if err != nil {
		return history.Fault{}, err
	}
	s.blast.ended(faultID)
	return history.Fault{ID: faultID, Kind: partition, Node: node, Seen: effect.Seen, Dropped: effect.Count, Why: "order"}, nil
}

// Addresses implements probes.Stage.
func (s *stage) Addresses(ctx context.Context, node string) ([]string, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return nil, err
	}
	return append([]string(nil), conn.Hello().Addresses...), nil
}

// LockNodes implements probes.Stage.
func (s *stage) LockNodes() []string { return s.schedule.Params.LockNodes }
