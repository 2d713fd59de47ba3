package audit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/plan"
)

// TestDialledSideBySide: every node's dial begins while the others' are going on; one
// after another, the first would wait for ever.
func TestDialledSideBySide(t *testing.T) {
	p := parse(t, "nodes: [{name: a, roles: [client]}, {name: b, roles: [client]}, {name: l, roles: [lock]}]\n")
	var meet sync.WaitGroup
	meet.Add(len(p.Nodes))
	dials := 0
	var mu sync.Mutex
	a := newAgents(p, func(ctx context.Context, n plan.Node) (*agent.Conn, error) {
		mu.Lock()
		dials++
		mu.Unlock()
		meet.Done()
		met := make(chan struct{})
		go func() { meet.Wait(); close(met) }()
		select {
		case <-met:
			return nil, errors.New("met")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a.all(ctx, []string{"a", "b", "l"})
	for _, n := range p.Nodes {
		// Who could not be reached is not waited for a second time.
		_, err := a.get(ctx, n.Name)
		var u *Unreachable
		if !errors.Is(err, ErrUnreachable) || !errors.As(err, &u) || u.Node != n.Name || u.err.Error() != "met" {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
	if dials != len(p.Nodes) {
		t.Errorf("%d dials of %d nodes", dials, len(p.Nodes))
	}
	if _, err := a.get(ctx, "z"); err == nil {
		t.Error("a node that the plan does not have was reached")
	}
}

// TestAuditNodes: an audit starts agents where its dry run says so.
func TestAuditNodes(t *testing.T) {
	p := parse(t, "nodes: [{name: a, roles: [client]}, {name: b, roles: [client]}, {name: c, roles: [client]}, {name: l, roles: [lock]}]\n")
	for probe, want := range map[string]int{"contend": 2, "isolate-lock-leader": 3} {
		s, err := Plan(p, Options{Probes: []string{probe}})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.nodes(); len(got) != want {
			t.Errorf("%s: %v, want %d nodes", probe, got, want)
		}
	}
}
