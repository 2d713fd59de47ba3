// Package history is the record of what happened in a probe: who called what,
// when, and with which outcome. Probes write events, checks and checklist items
// read them, and nothing else passes between acting and judging.
//
// The event types are Jepsen's: an operation is invoked, and then it is known to
// have happened (ok), known not to have happened (fail), or may have happened
// (info). When in doubt, info.
package history

import "time"

// Type is the phase or outcome of an operation.
type Type string

// The four types. An invoke is completed by at most one of the others; an invoke
// without a completion counts as info.
const (
	Invoke Type = "invoke" // the request is about to be sent
	OK     Type = "ok"     // it happened
	Fail   Type = "fail"   // it did not happen
	Info   Type = "info"   // it may have happened; also unsolicited notices
)

// Op names an operation.
type Op string

// Operations of lock clients, of the protected resource, and of faults.
const (
	OpAcquire Op = "acquire" // Grant on ok; Code held on fail
	OpRenew   Op = "renew"   // Grant.TTL on ok; unsolicited: Call 0 and Grant.Since set
	OpRelease Op = "release" // Code lost on fail
	OpLost    Op = "lost"    // unsolicited: the client itself noticed that it no longer holds
	OpStatus  Op = "status"  // Holding: does the client believe that it holds?
	OpObserve Op = "observe" // Holder: what the lock service says, seen by a third party
	OpWrite   Op = "write"   // Write; Code stale on fail
	OpRead    Op = "read"    // Write.Value and Write.Seq as read
	OpStart   Op = "start"   // a client process was started
	OpKill    Op = "kill"    // a client process was killed (SIGKILL)
	OpExit    Op = "exit"    // a client process ended by itself
	OpInject  Op = "inject"  // Fault
	OpRevert  Op = "revert"  // Fault; ok only after kernel state was read back
	OpStep    Op = "step"    // the probe entered the step named in Step
	OpStall   Op = "stall"   // the auditor itself did not run for a time: Sample
	OpLead    Op = "lead"    // the lock service's leader, on Node, as its own members say
	OpAttempt Op = "attempt" // an observed application tried to write, and the audit's cut kept it off: Err has what was seen
	OpClock   Op = "clock"   // Clock: what the lock server at Node, or the node Node, shows as the time of day
)

// Code says why an operation failed, for judges; Err has the words.
type Code string

// Codes of definite failures, and the common reasons for info.
const (
	CodeHeld    Code = "held"    // acquire: somebody else holds the lock
	CodeLost    Code = "lost"    // renew, release: the hold is over
	CodeStale   Code = "stale"   // write: the resource refused the token
	CodeRefused Code = "refused" // the request was not valid and had no effect
	CodeTimeout Code = "timeout" // info: no answer in time
	CodeExited  Code = "exited"  // info: the client process ended before it answered
)

// Event is one line of a history. Fields that do not apply are left out.
type Event struct {
	// Seq numbers the events of one history 1, 2, … in the order recorded.
	Seq int `json:"seq"`
	// At is the controller's CLOCK_MONOTONIC since the start of the run, in
	// nanoseconds: taken before a request is sent and after its answer has come.
	// One clock stamps every event, so that no node clock is ever trusted.
	At time.Duration `json:"at"`
	// Trial is the repetition of the probe this event belongs to, from 1.
	Trial int `json:"trial,omitempty"`
	// Actor is the client that acts ("a", "b", "observer"), or "agent" for faults.
	Actor string `json:"actor"`
	// Node is the name of the node where the actor lives.
	Node string `json:"node,omitempty"`
	Op   Op     `json:"op"`
	Type Type   `json:"type"`
	// Call is the Seq of the invoke that this event completes; 0 on invokes and
	// on unsolicited events.
	Call int `json:"call,omitempty"`
	// Key is the lock's key; Row the resource's row.
	Key string `json:"key,omitempty"`
	Row string `json:"row,omitempty"`
	// Step is the probe's own word for the moment ("3 expire, acquire on B").
	Step string `json:"step,omitempty"`
	// Case names the entry of a battery that this operation belongs to.
	Case string `json:"case,omitempty"`

	Grant   *Grant  `json:"grant,omitempty"`
	Write   *Write  `json:"write,omitempty"`
	Holder  *Holder `json:"holder,omitempty"`
	Holding *bool   `json:"holding,omitempty"`
	Fault   *Fault  `json:"fault,omitempty"`
	Sample  *Sample `json:"sample,omitempty"`
	Signal  *Signal `json:"signal,omitempty"`
	Clock   *Clock  `json:"clock,omitempty"`
	Code    Code    `json:"code,omitempty"`
	Err     string  `json:"err,omitempty"`
}

// Grant is a successful acquire or renew.
type Grant struct {
	Token Token `json:"token,omitzero"`
	// TTL is the lease as granted, in nanoseconds, which may differ from the one
	// asked for. 0: the backend has no lease.
	TTL time.Duration `json:"ttl,omitempty"`
	// Since is set on an unsolicited renewal: a time, on the same axis as
	// Event.At, at which the renewal had certainly not been sent yet. The lease
	// lasts at least until Since+TTL.
	Since *time.Duration `json:"since,omitempty"`
}

// Write is a write to (or a value read from) the protected resource.
type Write struct {
	Token Token  `json:"token,omitzero"`
	Value string `json:"value,omitempty"`
	OpID  string `json:"op_id,omitempty"`
	// Seq is the resource's own order of accepted writes; 0 if it has none.
	Seq uint64 `json:"seq,omitempty"`
}

// Holder is what the lock service says about a key.
type Holder struct {
	Held bool `json:"held"`
	// ID is the token ID of the hold, or what the service knows of the holder.
	ID string `json:"id,omitempty"`
	// Left is the rest of the lease in nanoseconds, Lease the whole of it; 0 if unknown.
	Left  time.Duration `json:"left,omitempty"`
	Lease time.Duration `json:"lease,omitempty"`
	// Owner is what the service stores about the holder. It is never written down:
	// whoever knows it may be able to release the lock.
	Owner string `json:"-"`
}

// Clock is a wall clock that was read from elsewhere.
type Clock struct {
	// Ahead is that clock minus the reader's, in nanoseconds; it is off by at most Error.
	Ahead time.Duration `json:"ahead"`
	Error time.Duration `json:"error"`
	// Reader is the node that read it; empty for the auditor.
	Reader string `json:"reader,omitempty"`
}

// Fault is an injected disturbance, as the agent reports it.
type Fault struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Node   string `json:"node"`
	Target string `json:"target,omitempty"`
	// For is the deadline: the fault ends by itself after this time, in nanoseconds.
	For time.Duration `json:"for,omitempty"`
	// Seen is what was read from the kernel: "1 process in state T", "41 packets dropped".
	Seen string `json:"seen,omitempty"`
	// Began is when it took effect by its node's own stamp, on the axis of Event.At: for
	// pictures, and nothing is judged by it. It lies between order and answer. 0: unknown.
	Began time.Duration `json:"began,omitempty"`
	// Scope says, of a partition or hold of a client, whose packets are hit:
	// "process", or "node" if the node could not tell the client's from others.
	Scope string `json:"scope,omitempty"`
	// Dropped counts, on the revert of a partition, the packets that it lost.
	Dropped int `json:"dropped,omitempty"`
	// Why says, on a revert, what ended the fault: "order", "deadline", …
	Why string `json:"why,omitempty"`
}
