// Package audit runs a plan: it reaches the nodes, runs the probes, and keeps
// the record. It acts and records; judging is the checklist's.
package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/record"
)

// Refusals that callers decide on.
var (
	// ErrUnsafe: the plan's own limits, or the rules for every plan, forbid it.
	ErrUnsafe = errors.New("refused for safety")
	// ErrUnreachable: a node's agent or the lock service could not be reached.
	ErrUnreachable = errors.New("not reachable")
	// ErrOwnClient is probes.ErrNoClient of a program that the plan names.
	ErrOwnClient = fmt.Errorf("%w, the plan's own", probes.ErrNoClient)
	// ErrInterrupted: the audit was stopped on request; the record up to then is kept.
	ErrInterrupted = errors.New("interrupted")
)

// Options of a run.
type Options struct {
	// RunsDir is where the run directory is made.
	RunsDir string
	// Group is the ID of the record of several locks of which this run is one, or "".
	Group string
	// PlanPath is recorded, so that reports can name a command that reproduces.
	PlanPath string
	// Tool is the version of lockaudit.
	Tool string
	// Probes by name, instead of the plan's selection; nil for the plan's.
	Probes []string
	// Trials instead of the plan's; 0 for the plan's. Seed likewise.
	Trials int
	Seed   uint64
	// Passive: only probes that change nothing.
	Passive bool
	// Progress is called from one goroutine at a time; may be nil.
	Progress func(probes.Progress)
}

// Schedule is what a plan and options amount to: which probes, how often, with
// which keys of the audit's own.
type Schedule struct {
	Probes []probes.Probe
	Trials int
	Params probes.Params
}

// TrialsOf is how often a probe of the schedule is repeated.
func (s Schedule) TrialsOf(p probes.Probe) int {
	switch {
	case p.Passive:
		return 1
	case p.Trials != nil:
		return p.Trials(s.Params, s.Trials)
	}
	return s.Trials
}

// Plan works out the schedule and refuses what safety forbids. It touches
// nothing; a dry run prints what it returns.
func Plan(p *plan.Plan, o Options) (Schedule, error) {
	selected, err := choose(p, o)
	if err != nil {
		return Schedule{}, err
	}
	nodes := p.ClientNodes()
	id := canaryID()
	s := Schedule{
		Probes: selected,
		Trials: p.Trials,
		Params: probes.Params{
			// Suffixes, not children: services that lock by prefix would see a
			// child of the real key as an attempt to get the real lock.
			Key:         p.Lock.Key + ".lockaudit-canary-" + id,
			RealKey:     p.Lock.Key,
			Scope:       canaryScope + id,
			TTL:         p.Lock.TTL,
			HasResource: p.Resource != nil,
			NodeA:       nodes[0].Name,
			NodeB:       nodes[len(nodes)-1].Name,
			Majority:    votes(p.Lock.Backend),
			ClientVotes: clientVotes(p.Lock.Backend),
			Seed:        p.Seed,
		},
	}
	observed(p, &s.Params)
	application(p, &s.Params)
	if len(nodes) > 2 {
		s.Params.NodeB = nodes[1].Name
	}
	if o.Trials > 0 {
		s.Trials = o.Trials
	}
	if o.Seed > 0 {
		s.Params.Seed = o.Seed
	}
	for _, n := range p.Nodes {
		if n.Has(plan.RoleLock) {
			s.Params.LockNodes = append(s.Params.LockNodes, n.Name)
		}
	}
	outages(p, &s.Params)
	clockNodes(p, &s.Params)
	peers(context.Background(), p, &s.Params, unresolved)
	for _, probe := range selected {
		if err := refuse(p, s.Params, probe); err != nil {
			return Schedule{}, err
		}
	}
	return s, nil
}

func choose(p *plan.Plan, o Options) ([]probes.Probe, error) {
	names := o.Probes
	if names == nil {
		names = p.Probes.Names
	}
	passive := o.Passive || (o.Probes == nil && p.Probes.Passive)
	if o.Passive && o.Probes == nil {
		// The plan's list is for an audit; an inspection has what of it only looks.
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			probe, ok := probes.ByName(name)
			return ok && !probe.Passive
		})
	}
	var out []probes.Probe
	if len(names) == 0 {
		for _, probe := range probes.All() {
			if probe.Passive || !passive {
				out = append(out, probe)
			}
		}
		return out, nil
	}
	for _, name := range names {
		probe, ok := probes.ByName(name)
		if !ok {
			return nil, &UnknownProbe{Name: name, Near: plan.Nearest(name, Names()), Asked: o.Probes != nil}
		}
		if passive && !probe.Passive {
			return nil, fmt.Errorf("probe %s is not passive", name)
		}
		out = append(out, probe)
	}
	return out, nil
}

// UnknownProbe is a selection that names a probe which does not exist.
type UnknownProbe struct {
	Name string
	// Near is what may have been meant; empty if nothing is near.
	Near string
	// Asked: it was not the plan that named it.
	Asked bool
}

func (u *UnknownProbe) Error() string {
	if u.Near != "" {
		return fmt.Sprintf("unknown probe %q", u.Name)
	}
	return fmt.Sprintf("unknown probe %q: known are %s", u.Name, strings.Join(Names(), ", "))
}

// Names of all probes.
func Names() []string {
	var out []string
	for _, probe := range probes.All() {
		out = append(out, probe.Name)
	}
	return out
}

// canaryScope begins the names of the audit's own rows.
const canaryScope = "lockaudit-canary-"

func canaryID() string {
	var b [4]byte
	rand.Read(b[:]) // never fails: crypto/rand.Read aborts the program instead
	return hex.EncodeToString(b[:])
}

// Run carries out the plan and returns the run directory, which exists and holds
// the record up to the end also when err is not nil, unless it could not be made
// (then dir is empty). Every fault has been reverted and looked after when Run
// returns; what could not be is in the manifest's residue.
func Run(ctx context.Context, p *plan.Plan, planYAML []byte, o Options) (dir string, err error) {
	schedule, err := Plan(p, o)
	if err != nil {
		return "", err
	}
	peers(ctx, p, &schedule.Params, resolve)
	if o.Progress == nil {
		o.Progress = func(probes.Progress) {}
	}
	redacted, err := plan.RedactYAML(planYAML)
	if err != nil {
		return "", err
	}
	m := manifest(p, o, schedule)
	// What an operator is called for is part of what was found, so that it is recorded.
	if m.Subject.Alerts, err = Alerts(p, o.PlanPath); err != nil {
		return "", err
	}
	w, err := record.Create(o.RunsDir, m, redacted)
	if err != nil {
		return "", err
	}
	outer := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stage := newStage(p, o.PlanPath, schedule, w, stop)
	stage.blast.protect, err = protected(ctx, p, resolve)
	if err == nil {
		err = runProbes(ctx, stage, schedule, w, o)
	}
	if err == nil && ctx.Err() == nil && !passive(schedule) {
		// "As it was before" is said only after looking.
		if sick := stage.healthy(ctx); sick != nil {
			err = fmt.Errorf("check health after the audit: %w", sick)
		}
	}
	err = errors.Join(err, stage.close(ctx))

	status := record.Complete
	switch {
	case outer.Err() == nil && ctx.Err() != nil:
		status, err = record.Aborted, errors.Join(context.Cause(ctx), err)
	case ctx.Err() != nil:
		status, err = record.Interrupted, errors.Join(ErrInterrupted, err)
	case err != nil:
		status = record.Aborted
	}
	return w.Dir(), errors.Join(err, w.Seal(status, err))
}

func manifest(p *plan.Plan, o Options, s Schedule) record.Manifest {
	m := record.Manifest{Tool: o.Tool, Group: o.Group, Seed: s.Params.Seed, Subject: record.Subject{
		Name: p.Name, File: p.File, Backend: p.Lock.Backend, Key: p.Lock.Key,
		TTL: p.Lock.TTL, Purpose: string(p.Lock.Purpose), Plan: o.PlanPath, Passive: passive(s),
		Signals: p.Signals.Any(), Takeover: p.Lock.Takeover, BuiltinClient: !p.Clients.Own(),
		Observed: p.Clients.Observe != nil,
	}}
	m.Subject.Owner = record.Owner(p.Owner)
	if p.Signals.Rules != "" {
		m.Subject.Rules = filepath.Base(p.Signals.Rules)
	}
	for _, w := range p.Waivers {
		m.Subject.Waivers = append(m.Subject.Waivers, record.Waiver(w))
	}
	for _, e := range p.Lock.Endpoints {
		m.Subject.Endpoints = append(m.Subject.Endpoints, plan.RedactURL(e))
	}
	if p.Resource != nil {
		m.Subject.Resource = p.Resource.Kind
	}
	for _, probe := range s.Probes {
		trials := s.TrialsOf(probe)
		m.Probes = append(m.Probes, record.Probe{Name: probe.Name, Status: record.Pending, Trials: trials})
	}
	return m
}

func passive(s Schedule) bool {
	for _, probe := range s.Probes {
		if !probe.Passive {
			return false
		}
	}
	return true
}

// runProbes runs them one after another: two faults at once would make it
// impossible to say which of them a failure came from. A probe that fails does
// not stop the others; a deployment that is no longer healthy does.
func runProbes(ctx context.Context, stage *stage, s Schedule, w *record.Writer, o Options) error {
	stage.agents.all(ctx, s.nodes())
	for i, probe := range s.Probes {
		if ctx.Err() != nil {
			return nil
		}
		if !probe.Passive {
			if err := stage.healthy(ctx); err != nil {
				return fmt.Errorf("check health before %s: %w", probe.Name, err)
			}
		}
		if err := guarded(ctx, stage, probe, func(ctx context.Context) error {
			return runProbe(ctx, stage, probe, i, s, w, o)
		}); err != nil {
			return err
		}
	}
	return nil
}
