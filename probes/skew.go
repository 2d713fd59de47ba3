package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// clockFault is the fault's kind.
const clockFault = "clock"

// Skew is a wrong time of day.
type Skew struct {
	// Offset is added to the clock at once, DriftPPM in the course of time.
	Offset   time.Duration
	DriftPPM float64
	For      time.Duration
}

// Params are those of the fault, for the process that target names.
func (s Skew) Params(target any) (json.RawMessage, error) {
	b, err := json.Marshal(struct {
		Target   any           `json:"target"`
		Offset   time.Duration `json:"offset,omitempty"`
		DriftPPM float64       `json:"drift_ppm,omitempty"`
	}{target, s.Offset, s.DriftPPM})
	if err != nil {
		return nil, fmt.Errorf("encode clock: %w", err)
	}
	return b, nil
}

// beyond is a step that takes every lease of the lock past its end, and no further:
// whatever else depends on that clock is hit as well.
func beyond(p Params) time.Duration { return p.TTL + 5*time.Second }

// skewLimit is the longest that a clock of a server may have to be wrong.
func skewLimit(p Params) time.Duration { return p.TTL + 2*callLimit }

// skews are the wrong clocks that a script has in effect. end belongs into a defer,
// so that they are put right on every way out; each has its own deadline besides.
type skews struct {
	t    *Trial
	open []openSkew
}

type openSkew struct{ node, target, id string }

// servers skews the clocks of the lock servers on the nodes, all at once: a lease is
// short.
func (k *skews) servers(ctx context.Context, nodes []string, s Skew) error {
	var all sync.WaitGroup
	each, errs := make([]skews, len(nodes)), make([]error, len(nodes))
	for i, node := range nodes {
		each[i].t = k.t
		all.Go(func() {
			errs[i] = each[i].begin(ctx, openSkew{node: node, target: "the lock server"}, s, func(ctx context.Context) (history.Fault, error) {
				return k.t.Stage.SkewServer(ctx, node, s)
			})
		})
	}
	all.Wait()
	for _, one := range each {
		k.open = append(k.open, one.open...)
	}
	return errors.Join(errs...)
}

// client skews the clock of a lock client.
func (k *skews) client(ctx context.Context, p *party, s Skew) error {
	return k.begin(ctx, openSkew{node: p.proc.Node(), target: p.name}, s, func(ctx context.Context) (history.Fault, error) {
		return p.proc.Skew(ctx, s)
	})
}

func (k *skews) begin(ctx context.Context, o openSkew, s Skew, order func(context.Context) (history.Fault, error)) error {
	e := history.Event{Actor: "agent", Node: o.node, Op: history.OpInject, Type: history.Invoke}
	e.Fault = &history.Fault{Kind: clockFault, Node: o.node, Target: o.target, For: s.For}
	invoke := k.t.record(e)
	if err := k.t.unrecorded(); err != nil {
		return err
	}
	agentCtx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	fault, err := order(agentCtx)
	k.t.record(faultDone(e, invoke, o.target, fault, err))
	if err != nil {
		return fmt.Errorf("skew the clock of %s on %s: %w", o.target, o.node, err)
	}
	o.id = fault.ID
	k.open = append(k.open, o)
	return nil
}

// end puts every clock right that is still wrong, also when the audit is being
// stopped, and whatever happens to another one of them.
func (k *skews) end(ctx context.Context) error {
	var errs []error
	for _, o := range k.open {
		errs = append(errs, k.endOne(ctx, o))
	}
	k.open = nil
	return errors.Join(errs...)
}

func (k *skews) endOne(ctx context.Context, o openSkew) error {
	e := history.Event{Actor: "agent", Node: o.node, Op: history.OpRevert, Type: history.Invoke}
	e.Fault = &history.Fault{ID: o.id, Kind: clockFault, Node: o.node, Target: o.target}
	invoke := k.t.record(e)
	agentCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), agentLimit)
	defer cancel()
	fault, err := k.t.Stage.Unskew(agentCtx, o.node, o.id)
	k.t.record(faultDone(e, invoke, o.target, fault, err))
	if err != nil {
		return fmt.Errorf("put the clock of %s on %s right: %w", o.target, o.node, err)
	}
	return nil
}

// serversWrong demands a wrong clock of every lock server that may be hit.
func serversWrong(p Params, limit time.Duration) []Demand {
	var out []Demand
	for _, node := range p.ClockNodes {
		out = append(out, Demand{Node: node, Kind: clockFault, For: limit})
	}
	return out
}

// needClocks fails with ErrSkip where the plan does not let the servers' clocks be
// skewed.
func (t *Trial) needClocks() error {
	if why := t.noClocks(); why != "" {
		return fmt.Errorf("%w: %s", ErrSkip, why)
	}
	return nil
}

func (p Params) noClocks() string {
	switch {
	case len(p.ClockNodes) > 0:
		return ""
	case len(p.Killable) > 0:
		return "where leases depend on the wall clock, real ones would end early as well; safety: {allow: [server-clock]} permits it"
	}
	return "the plan names the process of no lock server (nodes: process)"
}

func explainServers(p Params, what string, limit time.Duration) []string {
	if why := p.noClocks(); why != "" {
		return []string{"nothing: " + why}
	}
	return []string{
		fmt.Sprintf("the lock servers on %v are shown a wall clock that %s, for at most %s; their machines' clocks stay right", p.ClockNodes, what, limit),
		fmt.Sprintf("acquire %s on %s, and try to on %s meanwhile", p.Key, p.NodeA, p.NodeB),
		"real leases end early or late as well, if the service measures them by the wall clock",
	}
}

// once: what these probes ask is decided by one trial.
func once(Params, int) int { return 1 }
