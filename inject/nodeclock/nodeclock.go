// Package nodeclock disturbs the wall clock of a whole machine: a step, a wrong
// rate, or a step that comes and goes.
//
// Everything on the machine sees it, and nothing in the kernel takes it back, so it
// needs the agent's explicit permission. What the clock would show without the fault
// is known all the time: CLOCK_REALTIME and CLOCK_MONOTONIC_RAW, which no adjustment
// touches, are read together before the fault, and the rate between them is the
// kernel's own. The revert goes by that and not by what was added: after an NTP
// client or a person has set the clock, to subtract would put it wrong a second time.
package nodeclock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// Kind is the word for this fault in an order.
const Kind = "clock-node"

// Limits of a disturbance.
const (
	// maxOffset is a week: certificates and tickets expire beyond what a test needs.
	maxOffset = 7 * 24 * time.Hour
	// maxDrift is what the kernel's tick of 9000 to 11000 µs gives.
	maxDrift = 100_000
	// minStrobe is the shortest time between two steps.
	minStrobe = 10 * time.Millisecond
)

// Params say how the clock goes wrong.
type Params struct {
	// Offset is a step, in nanoseconds: forward, or backward if negative.
	Offset time.Duration `json:"offset,omitempty"`
	// Drift is how much too fast the clock runs, in millionths; too slow if negative.
	Drift float64 `json:"drift_ppm,omitempty"`
	// Strobe is the time between steps to Offset and back, if not 0.
	Strobe time.Duration `json:"strobe,omitempty"`
}

func (p Params) String() string {
	switch {
	case p.Strobe > 0:
		return fmt.Sprintf("a step of %+v and back, every %v", p.Offset, p.Strobe)
	case p.Drift == 0:
		return fmt.Sprintf("a step of %+v", p.Offset)
	case p.Offset == 0:
		return fmt.Sprintf("a rate error of %+g ppm", p.Drift)
	}
	return fmt.Sprintf("a step of %+v and a rate error of %+g ppm", p.Offset, p.Drift)
}

// Check says what is wrong with params, as far as that can be told on any machine.
func Check(b []byte) error {
	_, err := decodeParams(b)
	return err
}

func decodeParams(b []byte) (Params, error) {
	var p Params
	if err := inject.DecodeStrict(b, &p); err != nil {
		return Params{}, err
	}
	switch {
	case p.Offset == 0 && p.Drift == 0:
		return Params{}, errors.New("nothing to do: offset or drift_ppm is needed")
	case p.Offset.Abs() > maxOffset:
		return Params{}, fmt.Errorf("offset is %v, at most %v: %w", p.Offset, maxOffset, inject.ErrRefused)
	case math.IsNaN(p.Drift) || math.Abs(p.Drift) > maxDrift:
		return Params{}, fmt.Errorf("drift is %v ppm, at most %d: %w", p.Drift, maxDrift, inject.ErrRefused)
	case p.Strobe != 0 && (p.Strobe < minStrobe || p.Offset == 0 || p.Drift != 0):
		return Params{}, fmt.Errorf("strobe is %v: it is the time between steps, at least %v, and needs an offset and no drift", p.Strobe, minStrobe)
	}
	return p, nil
}

// Options of the fault.
type Options struct {
	// Allow says that this machine's clock may be disturbed at all.
	Allow bool
}

// Fault is the clock of this machine. The zero value refuses everything; use New.
type Fault struct {
	o    Options
	step func(name string) error // called between the steps of Inject; tests fail there

	mu     sync.Mutex
	active string             // the plan in effect here
	strobe map[string]*strobe // by plan id
}

// New returns a fault that has changed nothing.
func New(o Options) *Fault {
	return &Fault{o: o, step: func(string) error { return nil }, strobe: map[string]*strobe{}}
}

// Kind is "clock-node".
func (*Fault) Kind() string { return Kind }

// Support answers whether this agent may set the clock, and can.
func (f *Fault) Support() (bool, string) {
	if err := f.permitted(); err != nil {
		return false, err.Error()
	}
	return true, ""
}

func (f *Fault) permitted() error {
	if !f.o.Allow {
		return fmt.Errorf("the agent was not started with --allow-node-clock: everything on the machine would see it: %w", inject.ErrUnsupported)
	}
	return canSetTime()
}

// undo is what Revert needs: what the clock was, and who set it.
type undo struct {
	Anchor  sample   `json:"anchor"`
	Timex   timex    `json:"timex"`
	Daemons []daemon `json:"daemons,omitempty"`
}

// Prepare reads the clock and finds the NTP clients.
func (f *Fault) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	fail := func(err error) (inject.Plan, error) { return inject.Plan{}, fmt.Errorf("prepare clock-node: %w", err) }
	if s.For <= 0 {
		return fail(fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused))
	}
	p, err := decodeParams(s.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	if err := f.permitted(); err != nil {
		return fail(err)
	}
	boot, err := inject.BootID()
	if err != nil {
		return fail(err)
	}
	var u undo
	if u.Timex, err = readTimex(); err != nil {
		return fail(err)
	}
	if _, _, err := u.Timex.rate(p.Drift); err != nil {
		return fail(err)
	}
	if u.Daemons, err = findDaemons(ctx); err != nil {
		return fail(err)
	}
	plan := inject.Plan{Spec: s, BootID: boot, Objects: []string{fmt.Sprintf("the clock of this machine: %v", p)}}
	for _, d := range u.Daemons {
		plan.Objects = append(plan.Objects, d.object())
	}
	if u.Anchor, err = readClocks(); err != nil { // last: closest to the fault
		return fail(err)
	}
	if u.Anchor.Real+int64(p.Offset) < 0 {
		return fail(fmt.Errorf("offset %v leads before 1970: %w", p.Offset, inject.ErrRefused))
	}
	if plan.Undo, err = json.Marshal(u); err != nil {
		return fail(err)
	}
	return plan, nil
}

func decodeUndo(b []byte) (undo, error) {
	var u undo
	if err := inject.DecodeStrict(b, &u); err != nil {
		return undo{}, fmt.Errorf("undo: %w", err)
	}
	if u.Anchor.Real <= 0 || u.Anchor.Raw <= 0 || u.Timex.Tick == 0 {
		return undo{}, errors.New("undo: no reading of the clock")
	}
	return u, nil
}
