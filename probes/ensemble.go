package probes

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// member is a lock server with an agent on its node.
type member struct {
	node string
	// addrs are the node's addresses that no other member has: one that several
	// have, a virtual address, does not say on which side of a cut it is.
	addrs []string
}

// ensemble lists the lock servers that can be parted, the leader first where the
// service has one, and how many servers vote (0: it did not say).
func (t *Trial) ensemble(ctx context.Context) (members []member, leads bool, voters int, err error) {
	owners := map[string]int{}
	for _, node := range t.Stage.LockNodes() {
		addrs, err := t.Stage.Addresses(ctx, node)
		if err != nil {
			return nil, false, 0, err
		}
		for _, a := range addrs {
			owners[a]++
		}
		members = append(members, member{node: node, addrs: addrs})
	}
	for i := range members {
		members[i].addrs = slices.DeleteFunc(members[i].addrs, func(a string) bool { return owners[a] > 1 })
		if len(members[i].addrs) == 0 {
			return nil, false, 0, fmt.Errorf("%w: lock node %s has no address of its own", ErrSkip, members[i].node)
		}
	}
	found, err := t.inspect(ctx)
	if err != nil {
		return nil, false, 0, err
	}
	if found == nil {
		return members, false, 0, nil
	}
	t.sick = nil
	for _, m := range found.Members {
		if m.Err != "" {
			t.sick = append(t.sick, m.Endpoint)
		}
	}
	if i := leader(members, *found); i >= 0 {
		first := members[i]
		members = append([]member{first}, slices.Delete(members, i, i+1)...)
		t.record(history.Event{Actor: "observer", Node: first.node, Op: history.OpLead, Type: history.Info})
		leads = true
	}
	return members, leads, found.Voters, nil
}

// inspect reads the lock service through the observer; nil if it cannot.
func (t *Trial) inspect(ctx context.Context) (*facts.Deployment, error) {
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return nil, err
	}
	if !observer.proc.Can(string(locks.Inspect)) {
		return nil, nil
	}
	callCtx, cancel := context.WithTimeout(ctx, 4*callLimit)
	defer cancel()
	reply := observer.proc.Conn().Do(callCtx, clients.Request{Op: clients.OpInspect})
	if reply.Type != history.OK || reply.Answer == nil || reply.Answer.Facts == nil {
		return nil, outcome("inspect the lock service", reply)
	}
	return reply.Answer.Facts, nil
}

// leading are the words of the services for the one server that grants.
var leading = []string{"leader", "master", "primary"}

// leader is the index of the member that says it leads; -1 if none of them does,
// or if its endpoint cannot be matched to a node's address. Two that say so, as after a
// failover that one of them has not heard of, are none.
func leader(members []member, d facts.Deployment) int {
	found := -1
	for _, m := range d.Members {
		if !slices.Contains(leading, m.Role) {
			continue
		}
		host := hostOf(m.Endpoint)
		for i, have := range members {
			if slices.Contains(have.addrs, host) || have.node == host {
				if found >= 0 && found != i {
					return -1
				}
				found = i
			}
		}
	}
	return found
}

// hostOf takes the host out of host:port and scheme://host:port.
func hostOf(endpoint string) string {
	if strings.Contains(endpoint, "://") {
		u, err := url.Parse(endpoint)
		if err != nil {
			return ""
		}
		return u.Hostname()
	}
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return endpoint
	}
	return host
}

// whole fails with ErrSkip unless every voter can be put on a side: a server
// without an agent would join both, and the cut would not be the one that is named.
func whole(members []member, voters, least int) error {
	switch {
	case len(members) < least:
		return fmt.Errorf("%w: the plan has agents on %d nodes of the lock service, at least %d are needed", ErrSkip, len(members), least)
	case voters > 0 && voters != len(members):
		return fmt.Errorf("%w: the lock service has %d voting servers, and the plan has agents on %d of its nodes", ErrSkip, voters, len(members))
	}
	return nil
}
