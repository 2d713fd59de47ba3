package audit

import (
	"context"
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

// node returns the connection to a node's agent.
func (s *stage) node(ctx context.Context, name string) (*agent.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent(ctx, name)
}

// Partition implements probes.Stage.
func (s *stage) Partition(ctx context.Context, node string, c probes.Cut) (history.Fault, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return history.Fault{}, err
	}
	peers, own := apart(c.Peers, conn.Hello().Addresses)
	if len(peers) == 0 {
		return history.Fault{}, fmt.Errorf("%w: every server to cut %s off from is on that node itself", probes.ErrSkip, node)
	}
	ports := c.Ports
	if len(own) > 0 {
		ports = nil // the servers speak to each other by other ports than to clients
	}
	params, err := partitionParams(peers, ports, c.Direction, s.blast.protect)
	if err != nil {
		return history.Fault{}, err
	}
	f, err := s.blast.order(ctx, conn, node, inject.Spec{Kind: partition, For: c.For, Params: params}, false)
	switch {
	case errors.Is(err, inject.ErrUnsupported), errors.Is(err, inject.ErrRefused):
		return history.Fault{}, fmt.Errorf("%w: %w", probes.ErrSkip, err)
	case err != nil:
		return history.Fault{}, err
	}
	seen := f.Effect.Seen
	if len(own) > 0 {
		seen += "; " + strings.Join(own, ", ") + " is on the node itself and was cut off from the others with it, on all ports"
	}
	return history.Fault{ID: f.ID, Kind: partition, Node: node, For: c.For, Seen: seen}, nil
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
