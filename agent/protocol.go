// Package agent is the node agent: the process on a node that takes orders, and
// its guard, the small companion that owns every kernel handle of a fault. Dial
// is the auditor's end, Serve the agent's, Guard the guard's, and Heal removes
// what an earlier life left behind.
//
// All three speak JSON lines over stdin and stdout, so that any command which
// gives stdio is a transport: a local start, ssh, kubectl exec. No port is
// opened; the identity is the one that the operator already has; and the end of
// stdin means: revert everything.
package agent

import (
	"encoding/json"
	"regexp"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

const (
	// maxLine bounds a line in both directions.
	maxLine = 1 << 20
	// chunk bounds the client data in one line: JSON may write a byte as six.
	chunk = 64 << 10
	// window bounds the bytes of one client stream that the auditor has not read
	// yet. A client that prints without end is held back, not buffered.
	window = 1 << 20
	// grace is how long after a fault's deadline the agent waits to hear that the
	// guard ended it, before it kills the guard.
	grace = 500 * time.Millisecond
	// patience is how long the guard may take over one step (prepare, inject
	// beyond the fault's own duration, revert) before it counts as stuck.
	patience = 10 * time.Second
)

// op is an order's verb.
type op string

const (
	opHello      op = "hello"
	opPrepare    op = "prepare"
	opInject     op = "inject"
	opRevert     op = "revert"
	opList       op = "list"
	opStart      op = "start"
	opSend       op = "send"
	opCloseStdin op = "close-stdin"
	opKill       op = "kill"
	opMeasure    op = "measure"      // reads only
	opCredit     op = "credit"       // no id, no answer: N more bytes may be sent
	opPing       op = "ping"         // are you there? An auditor's has no id: it says that it is
	opExamine    op = "examine"      // reads only: what doctor says
	opCaller     op = "caller"       // agent to guard: for whom it works
	opWatch      op = "watch-client" // agent to guard: end this process group when the agent is gone
)

// order is one line towards the agent, or from the agent to its guard.
type order struct {
	ID      int             `json:"id,omitempty"`
	Op      op              `json:"op"`
	Version int             `json:"version,omitempty"`
	Spec    *inject.Spec    `json:"spec,omitempty"`
	Fault   string          `json:"fault,omitempty"`
	Proc    string          `json:"proc,omitempty"`
	Start   *ProcSpec       `json:"start,omitempty"`
	Process *inject.Process `json:"process,omitempty"`
	Data    *data           `json:"data,omitempty"`
	Stream  string          `json:"stream,omitempty"`
	N       int             `json:"n,omitempty"`
	Measure *measurement    `json:"measure,omitempty"`
	Caller  *Caller         `json:"caller,omitempty"`
}

// Caller is what an auditor says of itself in its hello: for the agent's log.
type Caller struct {
	Plan string `json:"plan,omitempty"` // the plan's name
	Run  string `json:"run,omitempty"`  // the run's id
}

// message is one line back: an answer (ID and one of OK and Error) or an event.
type message struct {
	ID     int      `json:"id,omitempty"`
	OK     *result  `json:"ok,omitempty"`
	Error  *failure `json:"error,omitempty"`
	Event  event    `json:"event,omitempty"`
	Notice *Notice  `json:"notice,omitempty"`
	Proc   string   `json:"proc,omitempty"`
	Stream string   `json:"stream,omitempty"`
	Data   *data    `json:"data,omitempty"`
	Exit   string   `json:"exit,omitempty"`
}

type event string

const (
	eventNotice event = "notice"
	eventOutput event = "output" // of a client's stream
	eventEOF    event = "eof"    // of a client's stream
	eventExit   event = "exit"   // of a client
	eventPong   event = "pong"   // the answer to an auditor's ping
)

// The streams of a client process.
const (
	streamOut = "stdout"
	streamErr = "stderr"
)

// result is the body of an ok; which fields are set depends on the verb.
type result struct {
	Hello   *Hello          `json:"hello,omitempty"`
	Plan    *inject.Plan    `json:"plan,omitempty"`
	Fault   *Fault          `json:"fault,omitempty"`
	Effect  *inject.Effect  `json:"effect,omitempty"`
	Faults  []Fault         `json:"faults,omitempty"`
	Process *inject.Process `json:"process,omitempty"`
	Health  *Health         `json:"health,omitempty"`
	// Measured is the result of a measurement, in its own form.
	Measured json.RawMessage `json:"measured,omitempty"`
}

// Hello is what an agent says about itself and its node.
type Hello struct {
	// Version of the protocol that was agreed on, and what the agent speaks: an agent
	// of before version 2 does not say.
	Version int   `json:"version"`
	Speaks  Range `json:"speaks,omitzero"`
	// Silence is after what the agent reverts everything if it hears nothing; 0: never.
	Silence      time.Duration `json:"silence,omitempty"`
	AgentVersion string        `json:"agent_version"`
	Hostname     string        `json:"hostname"`
	// Addresses are the node's own, without loopback and link-local ones.
	Addresses []string `json:"addresses,omitempty"`
	BootID    string   `json:"boot_id"`
	UID       int      `json:"uid"`
	PID       int      `json:"pid"`
	GuardPID  int      `json:"guard_pid"`
	StateDir  string   `json:"state_dir"`
	// Limits are what the node's owner allows.
	Limits Limits `json:"limits"`
	// Log is where the log of orders ended when the agent was greeted: the run
	// directory of an audit keeps it, and with it the log can be checked later.
	Log LogHead `json:"log"`
	// Halted says who halted the node, and why; nil if nobody did.
	Halted *Halt `json:"halted,omitempty"`
	// Kinds are the faults that the agent knows, in a fixed order.
	Kinds []Support `json:"kinds"`
	// Recovered are the faults of an earlier life, found in the journal at start.
	Recovered []Recovered `json:"recovered,omitempty"`
}

// LogHead is the last record of a log of orders.
type LogHead struct {
	Dir string `json:"dir"`
	Seq uint64 `json:"seq"`
	Sum string `json:"sum,omitempty"`
	Err string `json:"err,omitempty"` // it cannot be read
}

// Support says whether a kind of fault can work on this node.
type Support struct {
	Kind      string `json:"kind"`
	Supported bool   `json:"supported"`
	// Answer tells a no from not to know.
	Answer inject.Answer `json:"answer"`
	Why    string        `json:"why,omitempty"`
}

// Fault is a fault in effect.
type Fault struct {
	ID     string        `json:"id"`
	Plan   inject.Plan   `json:"plan"`
	Effect inject.Effect `json:"effect"`
	// InjectedAt is when the fault took effect and Deadline when it ends by
	// itself, both on the node's CLOCK_MONOTONIC_RAW, in nanoseconds.
	InjectedAt time.Duration `json:"injected_at"`
	Deadline   time.Duration `json:"deadline"`
	// Began is InjectedAt on the auditor's clock, for timelines; zero if the node's is not
	// known. Only the auditor has it.
	Began time.Time `json:"-"`
	// Err is the reason of the last failed revert.
	Err string `json:"err,omitempty"`
}

// NoticeKind is what a notice is about.
type NoticeKind string

// The notices.
const (
	// NoticeReverted: a fault ended without an order to revert it, and the
	// kernel's state was read back.
	NoticeReverted NoticeKind = "reverted"
	// NoticeRevertFailed: a fault may remain; nothing more will be tried by itself.
	NoticeRevertFailed NoticeKind = "revert-failed"
	// NoticeGuardLost: the guard died or was killed for missing a deadline; the
	// faults it held are ended and verified from the journal, each with a notice.
	NoticeGuardLost NoticeKind = "guard-lost"
	// NoticeHalted: somebody halted the node while a fault was in effect; it is being
	// reverted, which gets a notice of its own.
	NoticeHalted NoticeKind = "halted"
)

// Notice is what an agent says without being asked.
type Notice struct {
	Kind    NoticeKind     `json:"kind"`
	FaultID string         `json:"fault_id,omitempty"`
	Why     string         `json:"why,omitempty"` // "deadline", "order", "guard lost", "end of orders", "halt"
	Effect  *inject.Effect `json:"effect,omitempty"`
	Err     string         `json:"err,omitempty"`
}

// ProcSpec is an order for a client process on the node. It runs unprivileged,
// in a process group of its own, with the working directory / and only a PATH,
// HOME and LANG besides Env.
type ProcSpec struct {
	// Name is the auditor's name for it: unique per agent, [a-z0-9._-].
	Name string `json:"name"`
	// Argv[0] without a slash is looked up in PATH and then beside the agent.
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
}

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	validID   = regexp.MustCompile(`^[0-9a-f]{12}$`)
)

// data is a piece of a client's stream: text where it is valid UTF-8, so that a
// recorded line can be read, and bytes otherwise.
type data struct {
	Text string `json:"text,omitempty"`
	Raw  []byte `json:"raw,omitempty"`
}
