package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// blast is the blast radius: every fault of an audit passes here, on its way out,
// whichever probe orders it.
type blast struct {
	plan   *plan.Plan
	params probes.Params
	start  time.Time // of the axis of events
	// protect are the plan's protected endpoints, with addresses for names.
	protect []string

	mu    sync.Mutex
	on    map[string]underFault // by a number of our own, then by the fault's id
	last  int
	addrs map[string][]string // of the nodes that were reached
	sick  []string            // addresses of lock servers that did not answer the inspection
}

// underFault is a fault in effect, or on its way.
type underFault struct {
	node  string
	kind  string
	peers []string  // of a partition
	down  bool      // it stops the lock server on the node
	over  time.Time // it has ended by itself then; zero while it is on its way
}

func newBlast(p *plan.Plan, params probes.Params) *blast {
	return &blast{plan: p, params: params, on: map[string]underFault{}, addrs: map[string][]string{}}
}

// met notes the addresses of a node that was reached.
func (b *blast) met(node string, addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs[node] = addresses
}

// ordered reports whether any fault was ordered so far.
func (b *blast) ordered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last > 0
}

// inspected notes which lock servers were down before any fault.
func (b *blast) inspected(f facts.Deployment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sick = nil
	for _, m := range f.Members {
		if m.Err == "" {
			continue
		}
		if host, _, err := hostPort(m.Endpoint); err == nil {
			b.sick = append(b.sick, host)
		}
	}
}

// order injects a fault if the plan's limits allow it beside what is in effect. A
// refusal is ErrUnsafe, and ErrSkip for the probe.
func (b *blast) order(ctx context.Context, conn *agent.Conn, node string, s inject.Spec, down bool) (agent.Fault, error) {
	key, err := b.reserve(node, s, down)
	if err != nil {
		return agent.Fault{}, fmt.Errorf("%w: inject %s on %s: %w", probes.ErrSkip, s.Kind, node, err)
	}
	f, err := conn.Inject(ctx, s)
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.on[key]
	if err != nil {
		// The agent has reverted it, or does so at its deadline at the latest.
		open := errors.Is(err, agent.ErrRevertFailed) || errors.Is(err, agent.ErrClosed)
		if u.over = time.Now().Add(s.For); !open && ctx.Err() == nil {
			delete(b.on, key)
			return f, err
		}
		b.on[key] = u
		return f, err
	}
	delete(b.on, key)
	u.over = time.Now().Add(s.For)
	b.on[f.ID] = u
	return f, nil
}

// entry is a fault in effect, for the history.
func (b *blast) entry(f agent.Fault, node string, s inject.Spec) history.Fault {
	out := history.Fault{ID: f.ID, Kind: s.Kind, Node: node, For: s.For, Seen: f.Effect.Seen}
	if !f.Began.IsZero() && !b.start.IsZero() {
		out.Began = max(f.Began.Sub(b.start), 1)
	}
	return out
}

// ended forgets a fault whose revert was confirmed.
func (b *blast) ended(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.on, id)
}

// cleared forgets the faults of a node on which nothing is in effect any more.
func (b *blast) cleared(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, u := range b.on {
		if u.node == node {
			delete(b.on, key)
		}
	}
}

func (b *blast) reserve(node string, s inject.Spec, down bool) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, u := range b.on {
		if !u.over.IsZero() && time.Now().After(u.over) {
			delete(b.on, key)
		}
	}
	u := underFault{node: node, kind: s.Kind, down: down}
	if s.Kind == partition || s.Kind == hold {
		var p struct{ Peers []string }
		if err := json.Unmarshal(s.Params, &p); err != nil {
			return "", fmt.Errorf("read partition: %w", err)
		}
		u.peers = p.Peers
	}
	safety := b.plan.Safety
	if s.For > safety.MaxFault && !safety.Allows(plan.AllowLongFaults) {
		return "", unsafe(plan.AllowLongFaults, "it may last %s and safety.max_fault is %s", s.For, safety.MaxFault)
	}
	if most := safety.MaxFaults; most > 0 && len(b.on) >= most {
		return "", unsafe("", "%d faults are in effect and safety.max_faults is %d", len(b.on), most)
	}
	if err := b.inside(u); err != nil {
		return "", err
	}
	b.last++
	key := "#" + strconv.Itoa(b.last)
	b.on[key] = u
	if err := b.whole(); err != nil {
		delete(b.on, key)
		return "", err
	}
	return key, nil
}

// inside refuses peers that the plan does not know.
func (b *blast) inside(u underFault) error {
	if b.plan.Safety.Allows(plan.AllowOutsideNodes) {
		return nil
	}
	for _, peer := range u.peers {
		known := false // a network never is: it may hold anybody
		for _, list := range append([][]string{b.params.LockPeers, b.params.ResourcePeers}, values(b.addrs)...) {
			known = known || slices.ContainsFunc(list, func(a string) bool { return covers([]string{a}, peer) })
		}
		if !known {
			return unsafe(plan.AllowOutsideNodes, "it would cut %s off, which is neither of a node of the plan nor of its lock service or resource", peer)
		}
	}
	return nil
}

func values(m map[string][]string) [][]string {
	var out [][]string
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// whole looks at everything in effect together: on how many nodes, and whether a
// majority of the lock service is left.
func (b *blast) whole() error {
	var nodes []string
	for _, u := range b.on {
		if !slices.Contains(nodes, u.node) {
			nodes = append(nodes, u.node)
		}
	}
	safety := b.plan.Safety
	if most := safety.MaxNodes.Of(len(b.plan.Nodes)); len(nodes) > most {
		return unsafe("", "faults would be in effect on %d nodes and safety.max_nodes is %s, which is %d of %d", len(nodes), safety.MaxNodes, most, len(b.plan.Nodes))
	}
	if !votes(b.plan.Lock.Backend) || safety.Allows(plan.AllowQuorumLoss) {
		return nil
	}
	if all := b.servers(); !all.quorum() {
		return unsafe(plan.AllowQuorumLoss, "no majority of the lock servers %v would be left together", all.names)
	}
	return nil
}

// servers are the lock nodes, and the lock service's addresses that belong to none.
func (b *blast) servers() *servers {
	addrs := map[string][]string{}
	var names []string
	for _, node := range b.params.LockNodes {
		names, addrs[node] = append(names, node), b.addrs[node]
	}
	for _, a := range b.params.LockPeers {
		if !slices.ContainsFunc(names, func(n string) bool { return n == a || covers(addrs[n], a) }) {
			if b.unmet() {
				continue // it may be of a node that was not reached yet
			}
			names, addrs[a] = append(names, a), []string{a}
		}
	}
	s := newServers(names)
	for _, n := range names {
		s.down[n] = slices.ContainsFunc(addrs[n], func(a string) bool { return covers(b.sick, a) })
	}
	for _, u := range b.on {
		s.down[u.node] = s.down[u.node] || u.down
		for _, n := range names {
			if n != u.node && slices.ContainsFunc(addrs[n], func(a string) bool { return covers(u.peers, a) }) {
				s.deaf[[2]string{u.node, n}] = true
			}
		}
	}
	return s
}

// unmet reports whether a lock node's addresses are not known yet.
func (b *blast) unmet() bool {
	return slices.ContainsFunc(b.params.LockNodes, func(n string) bool { return b.addrs[n] == nil })
}

// protected are the plan's protected endpoints as a partition takes them.
func protected(ctx context.Context, p *plan.Plan, find lookup) ([]string, error) {
	var out []string
	for _, s := range p.Safety.Protect {
		e, err := plan.ParseProtected(s)
		if err != nil {
			return nil, err
		}
		if e.Network.IsValid() {
			out = append(out, e.Network.String())
			continue
		}
		ips, err := find(ctx, e.Host)
		if err != nil {
			return nil, fmt.Errorf("resolve safety.protect %s: %w", s, err)
		}
		for _, ip := range ips {
			if e.Port == 0 {
				out = append(out, ip.Unmap().String())
			} else {
				out = append(out, net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(e.Port)))
			}
		}
	}
	return out, nil
}
