package probes

import (
	"context"
	"slices"
	"sync"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
)

// What a node whose clock was read is to the lock.
const (
	clockOfServer = "lock node"
	clockOfClient = "client node"
)

// readClocks records what time of day the lock servers show, as far as they show it.
func (t *Trial) readClocks(ctx context.Context) error {
	found, err := t.inspect(ctx)
	if err != nil || found == nil {
		return err
	}
	return t.memberClocks(*found)
}

// memberClocks records the clocks that inspection found, all of them compared with the
// same one: that of the observer's node.
func (t *Trial) memberClocks(found facts.Deployment) error {
	for _, m := range found.Members {
		if m.Clock == nil {
			continue
		}
		t.record(history.Event{
			Actor: "observer", Node: m.Endpoint, Op: history.OpClock, Type: history.OK,
			Clock: &history.Clock{Ahead: *m.Clock, Error: m.ClockError, Reader: t.NodeB},
		})
	}
	return t.unrecorded()
}

// nodeClocks records the clocks of the lock service's nodes, as their agents read them,
// and that of the observer's node, which ties what the members show to the auditor's.
// That one could not be read is part of the record.
func (t *Trial) nodeClocks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachSlack)
	defer cancel()
	var all sync.WaitGroup
	for _, node := range t.clockReaders() {
		all.Go(func() {
			e := history.Event{Actor: "agent", Node: node, Op: history.OpClock, Case: clockOfClient}
			if slices.Contains(t.LockNodes, node) {
				e.Case = clockOfServer
			}
			e.Type = history.Invoke
			e.Call = t.record(e).Seq
			clock, err := t.Stage.WallClock(ctx, node)
			if err != nil {
				e.Type, e.Err = history.Info, err.Error()
			} else {
				e.Type, e.Clock = history.OK, &clock
			}
			t.record(e)
		})
	}
	all.Wait()
	return t.unrecorded()
}

// clockReaders are the nodes whose agents are asked for the time.
func (p Params) clockReaders() []string {
	if slices.Contains(p.LockNodes, p.NodeB) {
		return p.LockNodes
	}
	return append(slices.Clone(p.LockNodes), p.NodeB)
}
