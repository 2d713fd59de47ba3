package probes

import (
	"fmt"
	"slices"
	"time"
)

// Demand is one fault that a probe would order, as far as it is known before it
// runs: for a dry run, and for the limits of a plan.
type Demand struct {
	// Together names the moment: demands of a probe with the same word are in effect
	// at once, those with different ones are not.
	Together string
	Node     string
	Kind     string // of the fault
	For      time.Duration
	// Client is the lock client that is hit, a process that the audit starts: its pid
	// is known once it runs.
	Client string
	// Holder: the process of the application that holds the lock then is hit, if it is on
	// the node.
	Holder bool
	// Cut is what a partition cuts off; the own addresses of the nodes PeerNodes
	// come in addition, which their agents know.
	Cut       Cut
	PeerNodes []string
	// Params are those of any other kind, as JSON; nil if they are known in the run.
	Params []byte
	// Down: the lock server on the node does not serve while this lasts.
	Down bool
}

// pausesClient is a pause of client a.
func pausesClient(limit func(Params) time.Duration) func(Params) []Demand {
	return func(p Params) []Demand {
		return []Demand{{Node: p.NodeA, Kind: "pause", For: limit(p), Client: "a"}}
	}
}

// pausesHolder is a pause of client a, or of the application's process that holds the
// lock, of which nobody knows before where it is.
func pausesHolder(p Params) []Demand {
	if p.Observe == nil {
		return pausesClient(leaseLimit)(p)
	}
	var out []Demand
	for _, node := range p.Observe.Nodes {
		out = append(out, Demand{Together: "holder on " + node, Node: node, Kind: "pause", For: pauseLimit(p), Holder: true})
		if !p.Observe.AllowHarm {
			cut := Cut{Peers: p.ResourcePeers, Ports: p.ResourcePorts, Direction: "both", Sever: true}
			out = append(out, Demand{Together: "holder on " + node, Node: node, Kind: partition, For: shadowLimit(p), Cut: cut, Holder: true})
		}
	}
	return out
}

// cutsOffA is a partition between A's node and the lock service.
func cutsOffA(limit func(Params) time.Duration) func(Params) []Demand {
	return func(p Params) []Demand {
		if p.NodeA == p.NodeB || len(p.LockPeers) == 0 {
			return nil // the probe is skipped
		}
		return []Demand{{Node: p.NodeA, Kind: partition, For: limit(p), Cut: Cut{Peers: p.LockPeers, Ports: p.LockPorts, Direction: "both"}}}
	}
}

// cutsClientA is a partition between client A, or its whole node, and the lock
// service.
func cutsClientA(direction string, limit func(Params) time.Duration) func(Params) []Demand {
	return func(p Params) []Demand {
		if len(p.LockPeers) == 0 {
			return nil // the probe is skipped
		}
		c := Cut{Peers: p.LockPeers, Ports: p.LockPorts, Direction: direction, Client: "a", Alone: p.NodeA == p.NodeB}
		return []Demand{{Node: p.NodeA, Kind: partition, For: limit(p), Cut: c}}
	}
}

// partsServers are the cuts of a shape, with each client's node on its side. Which
// server leads is known in the run only; here the first one of the plan does.
func partsServers(p Params, together string, s shape, limit time.Duration) []Demand {
	names := func(list []int) []string { return pickNames(p.LockNodes, list) }
	var out []Demand
	deafen := func(node string, from []string) {
		if len(from) > 0 {
			out = append(out, Demand{Together: together, Node: node, Kind: partition, For: limit, Cut: Cut{Direction: "in"}, PeerNodes: from})
		}
	}
	deaf := map[string][]string{}
	for _, side := range []struct {
		node  string
		reach []int
	}{{p.NodeA, s.a}, {p.NodeB, s.b}} {
		far := names(others(len(p.LockNodes), side.reach))
		deafen(side.node, far)
		for _, node := range far {
			deaf[node] = append(deaf[node], side.node)
		}
	}
	for i, node := range p.LockNodes {
		deafen(node, append(deaf[node], names(s.deaf[i])...))
	}
	return out
}

// partsInTwo is the cut of breakInTwo.
func partsInTwo(p Params) []Demand {
	if p.NodeA == p.NodeB || !p.HasResource {
		return nil
	}
	if len(p.LockNodes) < 2 {
		return cutsOffA(sidesLimit)(p)
	}
	n := len(p.LockNodes)
	return partsServers(p, "", split("two-sides", n, span(0, max(1, (n-1)/2))), sidesLimit(p))
}

// partsInShapes are the cuts of each shape in turn.
func partsInShapes(p Params) []Demand {
	if p.NodeA == p.NodeB {
		return nil
	}
	var out []Demand
	for _, s := range shapesOf(p) {
		out = append(out, partsServers(p, s.name, s, sidesLimit(p))...)
	}
	return out
}

// isolatesLeader cuts the leader off from everybody.
func isolatesLeader(p Params) []Demand {
	if len(p.LockNodes) < fewestServers {
		return nil
	}
	leader, rest := p.LockNodes[0], p.LockNodes[1:]
	clients := []string{p.NodeA, p.NodeB}
	if p.NodeA == p.NodeB {
		clients = clients[:1]
	}
	everybody := append(slices.Clone(rest), clients...)
	out := []Demand{{Node: leader, Kind: partition, For: sidesLimit(p), Cut: Cut{Direction: "in"}, PeerNodes: everybody}}
	for _, node := range everybody {
		out = append(out, Demand{Node: node, Kind: partition, For: sidesLimit(p), Cut: Cut{Direction: "in"}, PeerNodes: []string{leader}})
	}
	return out
}

// String says in words what would be ordered.
func (d Demand) String() string {
	switch {
	case d.Holder && d.Kind == partition:
		return fmt.Sprintf("partition of the lock's holder, if it is on %s, for at most %s: all traffic with %v, port %v", d.Node, d.For, d.Cut.Peers, d.Cut.Ports)
	case d.Holder:
		return fmt.Sprintf("%s of the lock's holder, if it is on %s, for at most %s", d.Kind, d.Node, d.For)
	case d.Client != "":
		return fmt.Sprintf("%s of lock client %s on %s, for at most %s", d.Kind, d.Client, d.Node, d.For)
	case d.Kind == partition && d.Cut.Direction == "in":
		return fmt.Sprintf("partition on %s, for at most %s: what arrives from %v", d.Node, d.For, append(slices.Clone(d.Cut.Peers), d.PeerNodes...))
	case d.Kind == partition:
		return fmt.Sprintf("partition on %s, for at most %s: all traffic with %v, port %v", d.Node, d.For, append(slices.Clone(d.Cut.Peers), d.PeerNodes...), d.Cut.Ports)
	}
	return fmt.Sprintf("%s on %s, for at most %s", d.Kind, d.Node, d.For)
}
