package audit

import (
	"fmt"
	"slices"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// refuse checks what a probe would order against the plan's limits, before
// anything is reached. What is known in the run only, blast checks then.
func refuse(p *plan.Plan, params probes.Params, probe probes.Probe) error {
	if probe.MaxFault != nil {
		if d := probe.MaxFault(params); d > p.Safety.MaxFault && !p.Safety.Allows(plan.AllowLongFaults) {
			return unsafe(plan.AllowLongFaults, "%s may need a fault of %s and safety.max_fault is %s", probe.Name, d, p.Safety.MaxFault)
		}
	}
	if probe.Demands == nil {
		return nil
	}
	for _, group := range together(probe.Demands(params)) {
		if err := refuseGroup(p, params, probe.Name, group); err != nil {
			return err
		}
	}
	return nil
}

func refuseGroup(p *plan.Plan, params probes.Params, name string, group []probes.Demand) error {
	if most := p.Safety.MaxFaults; most > 0 && len(group) > most {
		return unsafe("", "%s may need %d faults at once and safety.max_faults is %d", name, len(group), most)
	}
	var nodes []string
	all := newServers(params.LockNodes)
	for _, d := range group {
		if !slices.Contains(nodes, d.Node) {
			nodes = append(nodes, d.Node)
		}
		all.down[d.Node] = all.down[d.Node] || d.Down
		for _, peer := range d.PeerNodes {
			all.deaf[[2]string{d.Node, peer}] = true
		}
	}
	if most := p.Safety.MaxNodes.Of(len(p.Nodes)); len(nodes) > most {
		return unsafe("", "%s needs faults on %d nodes at once (%v) and safety.max_nodes is %s, which is %d of %d",
			name, len(nodes), nodes, p.Safety.MaxNodes, most, len(p.Nodes))
	}
	if votes(p.Lock.Backend) && !all.quorum() && !p.Safety.Allows(plan.AllowQuorumLoss) {
		return unsafe(plan.AllowQuorumLoss, "%s would leave no majority of the lock nodes %v together", name, params.LockNodes)
	}
	return nil
}

// together sorts demands into those that are in effect at once.
func together(demands []probes.Demand) [][]probes.Demand {
	var words []string
	groups := map[string][]probes.Demand{}
	for _, d := range demands {
		if _, seen := groups[d.Together]; !seen {
			words = append(words, d.Together)
		}
		groups[d.Together] = append(groups[d.Together], d)
	}
	var out [][]probes.Demand
	for _, w := range words {
		out = append(out, groups[w])
	}
	return out
}

// Unsafe is a refusal, of the kind ErrUnsafe.
type Unsafe struct {
	Why string
	// Override is the name in safety.allow that lifts it; empty if a limit must be
	// raised instead.
	Override plan.Override
}

func (u *Unsafe) Error() string { return ErrUnsafe.Error() + ": " + u.Why }

// Is makes it ErrUnsafe.
func (u *Unsafe) Is(target error) bool { return target == ErrUnsafe }

func unsafe(o plan.Override, format string, args ...any) error {
	return &Unsafe{Why: fmt.Sprintf(format, args...), Override: o}
}
