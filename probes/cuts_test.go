package probes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// ledgerOfCuts is a Stage that only keeps the books of partitions.
type ledgerOfCuts struct {
	Stage
	mu     sync.Mutex
	broken string // the node whose agent refuses
	stuck  string // the node whose heal fails
	open   map[string]string
	n      int
}

func (s *ledgerOfCuts) Partition(_ context.Context, node string, c Cut) (history.Fault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node == s.broken {
		return history.Fault{}, fmt.Errorf("%w: no nftables", ErrSkip)
	}
	if c.For <= 0 {
		return history.Fault{}, errors.New("a partition without a deadline")
	}
	s.n++
	id := fmt.Sprint(s.n)
	s.open[id] = node
	return history.Fault{ID: id, Kind: partition, Node: node}, nil
}

func (s *ledgerOfCuts) Heal(ctx context.Context, node, id string) (history.Fault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return history.Fault{}, err
	}
	if s.open[id] != node {
		return history.Fault{}, fmt.Errorf("no partition %s on %s", id, node)
	}
	delete(s.open, id)
	if node == s.stuck {
		return history.Fault{}, errors.New("stuck")
	}
	return history.Fault{ID: id, Dropped: 3}, nil
}

// pages is a Log in memory.
type pages struct {
	mu     sync.Mutex
	events []history.Event
}

func (p *pages) Append(e history.Event) (history.Event, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Seq = len(p.events) + 1
	p.events = append(p.events, e)
	return e, nil
}

// TestCutsEndOnEveryWayOut: what was cut before one of several failed is healed,
// also when the audit is being stopped, and whatever becomes of another.
func TestCutsEndOnEveryWayOut(t *testing.T) {
	deaf := map[string][]string{"a": {"10.0.0.1"}, "b": {"10.0.0.1"}, "c": {"10.0.0.1"}, "nothing": nil}
	for _, c := range []struct {
		name          string
		broken, stuck string
		cut, heal     error
	}{
		{name: "all well"},
		{name: "one node cannot", broken: "b", cut: ErrSkip},
		{name: "one heal fails", stuck: "b", heal: errors.New("heal b: stuck")},
	} {
		t.Run(c.name, func(t *testing.T) {
			stage := &ledgerOfCuts{broken: c.broken, stuck: c.stuck, open: map[string]string{}}
			log := &pages{}
			trial := &Trial{Number: 1, Stage: stage, Log: log, Progress: func(string, time.Time) {}}
			cuts := &cuts{t: trial}
			ctx, cancel := context.WithCancel(t.Context())
			if err := cuts.deafen(ctx, deaf, time.Second); !errors.Is(err, c.cut) {
				t.Errorf("cut: %v, want %v", err, c.cut)
			}
			cancel()
			err := cuts.heal(ctx)
			if (err == nil) != (c.heal == nil) || err != nil && err.Error() != c.heal.Error() {
				t.Errorf("heal: %v, want %v", err, c.heal)
			}
			if len(stage.open) > 0 || len(cuts.open) > 0 {
				t.Errorf("still open: %v, %v", stage.open, cuts.open)
			}
			if err := cuts.heal(ctx); err != nil {
				t.Errorf("healed twice: %v", err)
			}
			if err := history.Validate(log.events); err != nil {
				t.Error(err)
			}
			nodes := map[string]bool{}
			for _, e := range log.events {
				if e.Type == history.OK && e.Op == history.OpRevert {
					nodes[e.Node] = e.Fault.Dropped == 3
				}
			}
			for _, node := range []string{"a", "c"} {
				if !nodes[node] {
					t.Errorf("the end of the partition of %s is not recorded with what it dropped", node)
				}
			}
			if slices.ContainsFunc(log.events, func(e history.Event) bool { return e.Node == "nothing" }) {
				t.Error("a partition from nobody was ordered")
			}
		})
	}
}
