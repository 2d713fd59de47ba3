// Package inject is the contract of a fault: one disturbance with a deadline.
// One folder below holds one kind, package injecttest is the conformance suite
// that each must pass.
//
// The order is always Prepare, journal, Inject, Revert. Everything that Revert
// needs is known after Prepare and durable before Inject, so that a half-applied
// fault can be reverted by another process after a crash.
package inject

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Refusals that callers decide on.
var (
	// ErrUnsupported: this kernel or these privileges cannot do it; the error
	// says what is missing.
	ErrUnsupported = errors.New("not supported here")
	// ErrRefused: it could be done and must not be (a protected process, an
	// object that is not ours); the error says why.
	ErrRefused = errors.New("refused")
	// ErrProgram: a program of others, which the fault has run, did not do what it
	// should; the error quotes what it said.
	ErrProgram = errors.New("program failed")
	// ErrGone: the target no longer exists; there is nothing left to revert.
	ErrGone = errors.New("target is gone")
)

// Spec is an order for a fault.
type Spec struct {
	Kind string `json:"kind"`
	// For is the deadline after which the fault ends by itself, in nanoseconds.
	// It is mandatory and counts from the moment the fault is in effect.
	For time.Duration `json:"for"`
	// Patience is how much longer than usual Inject and Revert may each take, at
	// most MaxPatience, because a program of others does the work: a server that
	// starts, a user's command. 0 for what the kernel does.
	Patience time.Duration `json:"patience,omitempty"`
	// Params are the kind's own; Prepare decodes them and refuses unknown ones.
	Params json.RawMessage `json:"params"`
}

// MaxPatience bounds Spec.Patience.
const MaxPatience = time.Minute

// Limit is how long Inject may take: a guard that takes much longer is killed as
// stuck, and its faults are reverted.
func (s Spec) Limit() time.Duration { return 5*time.Second + s.Patience }

// Plan is a prepared fault: durable, and enough for Revert in any process.
type Plan struct {
	ID   string `json:"id"`
	Spec Spec   `json:"spec"`
	// BootID is /proc/sys/kernel/random/boot_id at Prepare. After a reboot no pid,
	// table or handle of the plan means anything any more.
	BootID string `json:"boot_id"`
	// Objects lists, in words, every kernel object and process that Inject would touch.
	Objects []string `json:"objects"`
	// Undo is the kind's own: everything that Revert needs.
	Undo json.RawMessage `json:"undo"`
}

// Fault is one kind of disturbance. Its methods are called one at a time per
// plan, possibly from different goroutines for different plans.
type Fault interface {
	// Kind is the word in Spec.Kind.
	Kind() string
	// Prepare checks the order and writes down what will be touched. It changes
	// nothing. It fails with ErrUnsupported or ErrRefused where that is the reason.
	// The caller sets Plan.ID.
	Prepare(ctx context.Context, s Spec) (Plan, error)
	// Inject puts the fault into effect and returns once it has read that back
	// from the kernel. It is called only after the plan is in the journal. After
	// an error the caller calls Revert.
	Inject(ctx context.Context, p Plan) (Effect, error)
	// Revert removes whatever of the plan is in effect, and returns nil only after
	// reading back that nothing is left. It works after success, failure, or crash
	// of Inject, in another process, twice, and on a plan never injected. It must
	// not touch anything that is not the plan's own.
	Revert(ctx context.Context, p Plan) (Effect, error)
}

// Effect is what was read from the kernel after a change, as evidence.
type Effect struct {
	// Seen is one line for people: "3 of 3 processes in state T by SIGSTOP".
	Seen string `json:"seen"`
	// Count is the number of objects in the state described.
	Count int `json:"count"`
	// Since is when an injected fault took effect, on the clock of Now, if that was
	// before Inject could read it back; the deadline counts from it. 0: not known,
	// and it counts from the return of Inject.
	Since time.Duration `json:"since,omitempty"`
}
