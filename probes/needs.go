package probes

import (
	"context"
	"fmt"
	"slices"
)

// need says what a plan lacks for a probe, as far as it is known before a run; "" if
// nothing. The probe is then skipped, and its dry run lists nothing.
type need func(Params) (lacks string)

// checked is the probe with its needs looked at before anything of it is explained,
// demanded or done.
func (p Probe) checked() Probe {
	lacks := func(params Params) string {
		for _, n := range p.needs {
			if why := n(params); why != "" {
				return why
			}
		}
		return ""
	}
	explain, demands, trial := p.Explain, p.Demands, p.Trial
	p.Explain = func(params Params) []string {
		if why := lacks(params); why != "" {
			return []string{"nothing: " + why}
		}
		return explain(params)
	}
	if demands != nil {
		p.Demands = func(params Params) []Demand {
			if lacks(params) != "" {
				return nil
			}
			return demands(params)
		}
	}
	p.Trial = func(ctx context.Context, t *Trial) error {
		if why := lacks(t.Params); why != "" {
			return fmt.Errorf("%w: %s", ErrSkip, why)
		}
		return trial(ctx, t)
	}
	return p
}

// nodes are those of the two clients, in words.
func (p Params) nodes() string {
	if p.NodeA == p.NodeB {
		return p.NodeA
	}
	return p.NodeA + " and " + p.NodeB
}

func aResource(p Params) string {
	if !p.HasResource {
		return "the plan names no resource to write to"
	}
	return ""
}

// twoNodes: A's network must not be B's and the observer's.
func twoNodes(p Params) string {
	if p.NodeA == p.NodeB {
		return fmt.Sprintf("both clients are on node %s, so a cut would part them both from the lock service", p.NodeA)
	}
	return ""
}

// lockPeers: a cut needs addresses. A dry run looks no name up.
func lockPeers(p Params) string {
	if len(p.LockPeers) == 0 && !p.PeersLater {
		return "the addresses of the lock service are not known: " + p.PeersUnknown
	}
	return ""
}

// lockApart: a cut from the lock service must leave the resource reachable.
func lockApart(p Params) string {
	for _, peer := range p.LockPeers {
		if p.HasResource && slices.Contains(p.ResourcePeers, peer) {
			return fmt.Sprintf("lock service and resource share the address %s, so no cut leaves only one of them", peer)
		}
	}
	return ""
}

// lockServers wants agents on the nodes of at least so many lock servers.
func lockServers(least func(Params) int) need {
	return func(p Params) string {
		if have, want := len(p.LockNodes), least(p); have < want {
			return fmt.Sprintf("the plan has agents on %d nodes of the lock service, at least %d are needed", have, want)
		}
		return ""
	}
}
