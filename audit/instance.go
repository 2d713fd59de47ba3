package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/measure"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// instance is one process of the application that is audited as it is.
type instance struct {
	victim
	stage *stage
	words string
}

// ID implements probes.Instance.
func (i instance) ID() string {
	return fmt.Sprintf("%s/%d/%d", i.node, i.process.PID, i.process.StartTime)
}

func (i instance) String() string { return i.words }

// Node implements probes.Instance.
func (i instance) Node() string { return i.node }

// Restart implements probes.Instance.
func (i instance) Restart(ctx context.Context, d time.Duration) (history.Fault, error) {
	params, err := json.Marshal(map[string]any{"target": i.process})
	if err != nil {
		return history.Fault{}, fmt.Errorf("encode crash: %w", err)
	}
	return i.stage.outage(ctx, i.node, inject.Spec{Kind: crash, For: d, Patience: startPatience, Params: params})
}

// Alive implements probes.Instance.
func (i instance) Alive(ctx context.Context) (bool, error) {
	var t target.Target
	err := i.stage.measure(ctx, i.node, measure.KindProcess, target.Selector{PID: i.process.PID, StartTime: i.process.StartTime}, &t)
	if errors.Is(err, inject.ErrGone) || errors.Is(err, target.ErrNone) {
		return false, nil
	}
	return err == nil, err
}

// Unsent implements probes.Instance: connections that are being opened, and bytes that
// were written and not acknowledged.
func (i instance) Unsent(ctx context.Context) ([]string, error) {
	flows, err := i.flows(ctx)
	if err != nil {
		return nil, err
	}
	p := i.stage.schedule.Params
	var out []string
	for _, f := range flows {
		if !leadsTo(f, p.ResourcePeers, p.ResourcePorts) {
			continue
		}
		switch {
		case f.Opening:
			out = append(out, fmt.Sprintf("it opens a connection to %s, and no packet of it gets there", f.Peer))
		case f.Queued > 0:
			out = append(out, fmt.Sprintf("it has written %d bytes to %s, and none of them gets there", f.Queued, f.Peer))
		}
	}
	return out, nil
}

func (i instance) flows(ctx context.Context) (out []target.Flow, err error) {
	err = i.stage.measure(ctx, i.node, measure.KindFlows, i.process, &out)
	return out, err
}

func leadsTo(f target.Flow, peers []string, ports []int) bool {
	return slices.Contains(peers, f.Peer.Addr().String()) && slices.Contains(ports, int(f.Peer.Port()))
}

// clue is what leads to an instance: the groups of a pattern, or connections.
type clue struct {
	groups map[string]string
	peers  []netip.AddrPort
}

// Instance implements probes.Witness.
func (s *stage) Instance(ctx context.Context, w probes.Who) (probes.Instance, error) {
	o := s.plan.Clients.Observe
	var c clue
	switch {
	case o.Connection && len(w.Peers) == 0:
		return nil, probes.NeedsPeers()
	case o.Connection:
		for _, p := range w.Peers {
			a, err := netip.ParseAddrPort(p)
			if err != nil {
				return nil, fmt.Errorf("%w: the lock service says that the holder's connection comes from %q, which is no address", probes.ErrSkip, p)
			}
			c.peers = append(c.peers, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		}
	default:
		groups, ok := match(o.Owner, w.Owner)
		if !ok {
			// The text itself may release the lock, and is not shown.
			return nil, fmt.Errorf("%w: clients.observe.owner does not match what the lock service stores about the holder (%d characters)", probes.ErrSkip, len(w.Owner))
		}
		c.groups = groups
	}
	i, err := s.follow(ctx, c)
	if err != nil {
		return nil, err
	}
	s.seen.met[i.node] = i
	return i, nil
}

// Foreign implements probes.Witness.
func (s *stage) Foreign(ctx context.Context, peers []string) ([]string, error) {
	s.mu.Lock()
	var own []victim
	for _, p := range s.clients {
		own = append(own, p.victim)
	}
	s.mu.Unlock()
	mine := map[string]bool{}
	for _, v := range own {
		flows, err := (instance{victim: v, stage: s}).flows(ctx)
		if errors.Is(err, inject.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, f := range flows {
			mine[f.Local.String()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(peers), func(p string) bool { return mine[p] }), nil
}

// match returns the groups of a pattern that took part.
func match(pattern, text string) (map[string]string, bool) {
	re, err := regexp.Compile(pattern) // plan.validate has seen to it
	if err != nil {
		return nil, false
	}
	m := re.FindStringSubmatch(text)
	if m == nil {
		return nil, false
	}
	out := map[string]string{}
	for i, name := range re.SubexpNames() {
		if name != "" && m[i] != "" {
			out[name] = m[i]
		}
	}
	return out, true
}

// follow goes from a clue to a node, and from the node to a process.
func (s *stage) follow(ctx context.Context, c clue) (instance, error) {
	node, conn, err := s.nodeBy(ctx, c)
	if err != nil {
		return instance{}, err
	}
	selectors, sure, err := s.selectors(c, node, conn.Hello().Addresses)
	if err != nil {
		return instance{}, err
	}
	var t target.Target
	for i, selector := range selectors {
		before := t
		if err := s.measure(ctx, node, measure.KindProcess, selector, &t); err != nil {
			return instance{}, fmt.Errorf("%w: the holder is on node %s, and its process cannot be found there: %w", probes.ErrSkip, node, err)
		}
		if i > 0 && before.Process != t.Process {
			return instance{}, fmt.Errorf("%w: %w: on node %s it may be %s or %s", probes.ErrSkip, probes.ErrSeveral, node, before, t)
		}
	}
	i := instance{victim: victim{node: node, agent: conn, blast: s.blast, process: t.Process}, stage: s}
	i.words = fmt.Sprintf("process %d (%s) on %s", t.PID, t.Comm, node)
	if sure {
		return i, nil
	}
	// A number that somebody wrote into a value may be another process's here, as in a
	// container it is.
	flows, err := i.flows(ctx)
	if err != nil {
		return instance{}, err
	}
	p := s.schedule.Params
	if !slices.ContainsFunc(flows, func(f target.Flow) bool { return leadsTo(f, p.LockPeers, p.LockPorts) }) {
		return instance{}, fmt.Errorf("%w: the holder should be %s, which has no connection to the lock service: it is not taken for the holder (say which process it is: clients.observe.process)", probes.ErrSkip, i)
	}
	return i, nil
}

// nodeBy finds the one client node that a clue means.
func (s *stage) nodeBy(ctx context.Context, c clue) (name string, conn *agent.Conn, err error) {
	var fits, all []string
	conns := map[string]*agent.Conn{}
	for _, n := range s.plan.ClientNodes() {
		conn, err := s.node(ctx, n.Name)
		if err != nil {
			return "", nil, err
		}
		h := conn.Hello()
		all = append(all, fmt.Sprintf("%s (host %s, %s)", n.Name, h.Hostname, strings.Join(h.Addresses, ", ")))
		if c.means(n.Name, h) {
			fits, conns[n.Name] = append(fits, n.Name), conn
		}
	}
	switch len(fits) {
	case 1:
		return fits[0], conns[fits[0]], nil
	case 0:
		return "", nil, fmt.Errorf("%w: the holder is on no client node of the plan: it should be at %s, and they are %s", probes.ErrSkip, c, strings.Join(all, "; "))
	}
	return "", nil, fmt.Errorf("%w: %w: %s is all that is known of the holder, and it may be on %s", probes.ErrSkip, probes.ErrSeveral, c, strings.Join(fits, " or "))
}

// means: everything that the clue says of a node is so.
func (c clue) means(node string, h agent.Hello) bool {
	if len(c.peers) > 0 {
		return slices.ContainsFunc(c.peers, func(p netip.AddrPort) bool { return slices.Contains(h.Addresses, p.Addr().String()) })
	}
	if want, ok := c.groups[plan.GroupNode]; ok && want != node {
		return false
	}
	if want, ok := c.groups[plan.GroupAddr]; ok && !slices.Contains(h.Addresses, want) {
		return false
	}
	if want, ok := c.groups[plan.GroupHost]; ok {
		short, _, _ := strings.Cut(h.Hostname, ".")
		return want == node || want == h.Hostname || want == short || slices.Contains(h.Addresses, want)
	}
	return true
}

func (c clue) String() string {
	if len(c.peers) > 0 {
		var out []string
		for _, p := range c.peers {
			out = append(out, p.String())
		}
		return "a connection from " + strings.Join(out, " or ")
	}
	var out []string
	for _, g := range []string{plan.GroupNode, plan.GroupHost, plan.GroupAddr, plan.GroupPort, plan.GroupPID} {
		if v, ok := c.groups[g]; ok {
			out = append(out, g+" "+v)
		}
	}
	return strings.Join(out, ", ")
}

// selectors say which process on the node it is, all of them the same one. sure: by more
// than a number that somebody wrote into a value.
func (s *stage) selectors(c clue, node string, addresses []string) (all []any, sure bool, err error) {
	o := s.plan.Clients.Observe
	switch {
	case !o.Process.IsZero():
		return []any{o.Process.At(node)}, true, nil
	case len(c.peers) > 0:
		for _, p := range c.peers {
			if slices.Contains(addresses, p.Addr().String()) {
				all = append(all, target.Selector{Socket: p.String()})
			}
		}
		return all, true, nil
	case c.groups[plan.GroupPID] != "":
		pid, err := strconv.Atoi(c.groups[plan.GroupPID])
		if err != nil || pid <= 1 {
			return nil, false, fmt.Errorf("%w: the holder's pid is %q, which is none", probes.ErrSkip, c.groups[plan.GroupPID])
		}
		return []any{target.Selector{PID: pid}}, false, nil
	}
	return []any{target.Selector{Socket: net.JoinHostPort(c.groups[plan.GroupAddr], c.groups[plan.GroupPort])}}, true, nil
}

// groupsOf are the names of a pattern's groups.
func groupsOf(pattern string) []string {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil // plan.validate has seen to it
	}
	return re.SubexpNames()
}
