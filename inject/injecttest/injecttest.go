// Package injecttest is the conformance suite that every fault must pass. A kind's
// test needs a TestMain that calls Main, and one call of Run:
//
//	func TestMain(m *testing.M) { injecttest.Main(m, func() inject.Fault { return pause.New() }) }
//	func TestConformance(t *testing.T) { injecttest.Run(t, subject) }
//
// The suite kills real processes that hold the fault, at every step of its life,
// and has a fresh process revert it from nothing but the plan.
package injecttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// Subject is a kind of fault under test.
type Subject struct {
	// New returns a fault that holds nothing, as a restarted guard has it.
	New func() inject.Fault
	// Target makes something to disturb, and removes it with t.Cleanup.
	Target func(t *testing.T) Target
	// Patience of its orders; see inject.Spec.
	Patience time.Duration
	// Single says that there is one target in the world: a second fault is refused.
	Single bool
	// KernelUndoes says that the death of its holder alone ends the fault.
	KernelUndoes bool
	// Parallel says that its targets share nothing, so that the parts may run at once.
	Parallel bool
	// Env is added to the environment of the processes that hold the fault.
	Env []string
}

// Target is something that a fault can disturb.
type Target struct {
	Params json.RawMessage
	// Snapshot describes everything that the fault may change, and nothing that
	// changes by itself.
	Snapshot func() string
	// Remove makes the target go away while the fault is in effect; nil if the kind
	// has no such case.
	Remove func()
}

// limit bounds one step: only a hang should reach it.
const limit = 2 * time.Minute

// longest is the deadline of every fault: far beyond what a step may take, so that it is
// never what ends one.
const longest = 10 * limit

type suite struct {
	Subject
	kind string
}

// Run runs the suite.
func Run(t *testing.T, s Subject) {
	x := suite{s, s.New().Kind()}
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"prepare changes nothing", x.prepareChangesNothing},
		{"unknown params are refused", x.unknownParams},
		{"a deadline is mandatory", x.deadlineMandatory},
		{"inject is seen and revert restores", x.injectAndRevert},
		{"revert of what was not injected", x.revertUninjected},
		{"revert twice", x.revertTwice},
		{"revert from the plan alone", x.revertFromPlan},
		{"plan of another boot is not touched", x.otherBoot},
		{"two faults do not disturb each other", x.twoFaults},
		{"target gone in the middle", x.targetGone},
		{"kill -9 at every step", x.killed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if s.Parallel {
				t.Parallel()
			}
			c.test(t)
		})
	}
}

func (s suite) ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func (s suite) spec(x Target) inject.Spec {
	return inject.Spec{Kind: s.kind, For: longest, Patience: s.Patience, Params: x.Params}
}

// prepare returns a plan that has been through the journal's encoding.
func (s suite) prepare(t *testing.T, f inject.Fault, x Target, id string) inject.Plan {
	t.Helper()
	p, err := f.Prepare(s.ctx(t), s.spec(x))
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	if len(p.Objects) == 0 || p.BootID == "" || len(p.Undo) == 0 {
		t.Fatalf("prepare: the plan names no objects, boot or undo: %+v", p)
	}
	p.ID = fmt.Sprintf("%s-%d", id, os.Getpid()) // no other test's, which may run at the same time
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back inject.Plan
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func (s suite) inject(t *testing.T, f inject.Fault, p inject.Plan) {
	t.Helper()
	e, err := f.Inject(s.ctx(t), p)
	if err != nil {
		t.Fatalf("inject: %v", err)
	}
	if e.Count == 0 || e.Seen == "" {
		t.Fatalf("inject: nothing was read back: %+v", e)
	}
}

func (s suite) revert(t *testing.T, f inject.Fault, p inject.Plan) {
	t.Helper()
	if _, err := f.Revert(s.ctx(t), p); err != nil {
		t.Fatalf("revert: %v", err)
	}
}

func same(t *testing.T, x Target, before, when string) {
	t.Helper()
	if now := x.Snapshot(); now != before {
		t.Fatalf("%s: the state is\n%s\nand was\n%s", when, now, before)
	}
}

func changed(t *testing.T, x Target, before, when string) {
	t.Helper()
	if x.Snapshot() == before {
		t.Fatalf("%s: the fault is not to be seen:\n%s", when, before)
	}
}

func (s suite) prepareChangesNothing(t *testing.T) {
	x, f := s.Target(t), s.New()
	before := x.Snapshot()
	a := s.prepare(t, f, x, "a")
	same(t, x, before, "after prepare")
	b := s.prepare(t, f, x, "a")
	if strings.Join(a.Objects, "\n") != strings.Join(b.Objects, "\n") {
		t.Fatalf("two dry runs differ: %q and %q", a.Objects, b.Objects)
	}
}

func (s suite) unknownParams(t *testing.T) {
	x := s.Target(t)
	var m map[string]any
	if err := json.Unmarshal(x.Params, &m); err != nil {
		t.Fatal(err)
	}
	m["no_such_parameter"] = 1
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, params := range []string{string(b), `{}`, ``, `null`, `[]`, string(x.Params) + "{}"} {
		sp := s.spec(x)
		sp.Params = json.RawMessage(params)
		if _, err := s.New().Prepare(s.ctx(t), sp); err == nil {
			t.Errorf("prepare accepted the params %s", params)
		}
	}
}

func (s suite) deadlineMandatory(t *testing.T) {
	x := s.Target(t)
	for _, d := range []time.Duration{0, -time.Second} {
		sp := s.spec(x)
		sp.For = d
		if _, err := s.New().Prepare(s.ctx(t), sp); !errors.Is(err, inject.ErrRefused) {
			t.Errorf("prepare for %v: %v, want %v", d, err, inject.ErrRefused)
		}
	}
}

func (s suite) injectAndRevert(t *testing.T) {
	x, f := s.Target(t), s.New()
	before := x.Snapshot()
	for _, id := range []string{"a", "b"} { // a fault can be used again
		p := s.prepare(t, f, x, id)
		s.inject(t, f, p)
		changed(t, x, before, "after inject")
		s.revert(t, f, p)
		same(t, x, before, "after revert")
	}
}

func (s suite) revertUninjected(t *testing.T) {
	x, f := s.Target(t), s.New()
	before := x.Snapshot()
	s.revert(t, f, s.prepare(t, f, x, "a"))
	same(t, x, before, "after revert")
}

func (s suite) revertTwice(t *testing.T) {
	x, f := s.Target(t), s.New()
	before := x.Snapshot()
	p := s.prepare(t, f, x, "a")
	s.inject(t, f, p)
	s.revert(t, f, p)
	s.revert(t, f, p)
	same(t, x, before, "after the second revert")
}

func (s suite) revertFromPlan(t *testing.T) {
	x, f := s.Target(t), s.New()
	before := x.Snapshot()
	p := s.prepare(t, f, x, "a")
	s.inject(t, f, p)
	// Whatever keeps f's handles in effect must not keep another from healing; f
	// then still has to let go of them without harm.
	s.revert(t, s.New(), p)
	s.revert(t, f, p)
	same(t, x, before, "after revert by another")
}

func (s suite) otherBoot(t *testing.T) {
	x, f := s.Target(t), s.New()
	p := s.prepare(t, f, x, "a")
	s.inject(t, f, p)
	during := x.Snapshot()
	old := p
	old.BootID, old.ID = "00000000-0000-0000-0000-000000000000", p.ID+"b"
	if _, err := s.New().Revert(s.ctx(t), old); err != nil {
		t.Errorf("revert of another boot's plan: %v", err)
	}
	same(t, x, during, "after revert of another boot's plan")
	if _, err := s.New().Inject(s.ctx(t), old); err == nil {
		t.Error("inject accepted a plan of another boot")
	}
	s.revert(t, f, p)
}

func (s suite) twoFaults(t *testing.T) {
	if s.Single {
		s.secondRefused(t)
		return
	}
	x, y, f := s.Target(t), s.Target(t), s.New()
	beforeX, beforeY := x.Snapshot(), y.Snapshot()
	px, py := s.prepare(t, f, x, "a"), s.prepare(t, f, y, "b")
	done := make(chan error, 2)
	for _, p := range []inject.Plan{px, py} {
		go func() {
			_, err := f.Inject(s.ctx(t), p)
			done <- err
		}()
	}
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatalf("inject two at once: %v", err)
	}
	changed(t, x, beforeX, "first")
	changed(t, y, beforeY, "second")
	s.revert(t, f, px)
	same(t, x, beforeX, "first, after its revert")
	changed(t, y, beforeY, "second, after the first one's revert")
	s.revert(t, f, px) // again, from the plan
	changed(t, y, beforeY, "second, after the first one's second revert")
	s.revert(t, f, py)
	same(t, y, beforeY, "second, after its revert")
}

func (s suite) secondRefused(t *testing.T) {
	x, f := s.Target(t), s.New()
	before := x.Snapshot()
	a, b := s.prepare(t, f, x, "a"), s.prepare(t, f, x, "b")
	s.inject(t, f, a)
	during := x.Snapshot()
	if _, err := f.Inject(s.ctx(t), b); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("inject of a second: %v, want %v", err, inject.ErrRefused)
	}
	s.revert(t, f, b)
	same(t, x, during, "after the second one's revert")
	s.revert(t, f, a)
	same(t, x, before, "after revert")
}

// targetGone: what has ended needs no revert, and must not be an injection that
// claims to be in effect.
func (s suite) targetGone(t *testing.T) {
	x, f := s.Target(t), s.New()
	if x.Remove == nil {
		return
	}
	p := s.prepare(t, f, x, "a")
	s.inject(t, f, p)
	x.Remove()
	s.revert(t, f, p)
	s.revert(t, s.New(), p)

	x = s.Target(t)
	p = s.prepare(t, f, x, "b")
	x.Remove()
	if _, err := f.Inject(s.ctx(t), p); !errors.Is(err, inject.ErrGone) {
		t.Errorf("inject into a target that is gone: %v, want %v", err, inject.ErrGone)
	}
	s.revert(t, f, p)
	if _, err := f.Prepare(s.ctx(t), s.spec(x)); err == nil {
		t.Error("prepare accepted a target that is gone")
	}
}
