// Package probes holds the experiments and measurements: one file each, listed
// in All. A probe acts and records; it never judges, and it never sleeps: every
// wait is for an observed state, with a deadline.
package probes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
)

// What an audit decides on.
var (
	// ErrSkip: the probe cannot be carried out on this deployment; the error says why.
	ErrSkip = errors.New("not possible here")
	// ErrPremise: the trial shows nothing, because something that it builds on did not
	// come about: a machine that stood still, an answer that never came. It is worth
	// repeating.
	ErrPremise = errors.New("premise not met")
	// ErrNoClient: a lock client did not start, or not as far as being ready.
	ErrNoClient = errors.New("lock client is not ready")
	// ErrRecord: an event could not be recorded. What is not recorded must not be
	// done, so the audit is over.
	ErrRecord = errors.New("the record cannot be kept")
	// ErrTTL: the service grants another lease than the plan asks for, so that no
	// verdict about the plan's lease could be right.
	ErrTTL = errors.New("lease is not granted as asked")
)

// Probe is one scripted experiment or measurement.
type Probe struct {
	Name string
	// About is one line for people.
	About string
	// Passive probes acquire nothing, write nothing and inject nothing.
	Passive bool
	// Explain lists, in words, every fault, object and duration that the probe
	// would use, for a dry run.
	Explain func(Params) []string
	// MaxFault is the longest fault that the probe would order; 0 for none.
	MaxFault func(Params) time.Duration
	// Demands are the faults that the probe would order, one by one; nil for none.
	Demands func(Params) []Demand
	// OnLockNodes: faults are ordered on the nodes of the lock service too.
	OnLockNodes bool
	// Trials is how often the probe is repeated where the plan wants planned
	// repetitions; nil: that often. A probe of several variants needs one for each.
	Trials func(p Params, planned int) int
	// needs are looked at before Explain, Demands and Trial.
	needs []need
	// Trial carries out one repetition. Passive probes have exactly one.
	Trial func(context.Context, *Trial) error
}

// Params is what a probe must know of the deployment.
type Params struct {
	// RealKey is the application's own, which is looked at and never touched.
	RealKey string
	// Key and Scope are the audit's own (canary) lock key and resource scope.
	Key   string
	Scope string
	TTL   time.Duration
	// HasResource: the plan names a protected resource.
	HasResource bool
	// NodeA and NodeB are the names of the nodes of the two clients.
	NodeA, NodeB string
	// MeasureFor is how long each client node is watched for pauses.
	MeasureFor time.Duration
	// Process says which process of the application is measured on the client nodes;
	// empty: none.
	Process string
	// LockServers are the endpoints of the lock service as host:port.
	LockServers []string
	// Metrics are the URLs, and LogFile (if not empty) the file, in which failures to
	// acquire should show.
	Metrics []string
	LogFile string
	// LockNodes are the nodes of the lock service on which an agent can be reached.
	LockNodes []string
	// Majority: the lock service decides by a majority of its servers.
	Majority bool
	// ClientVotes: it is the clients that count it, and its servers know nothing of each
	// other.
	ClientVotes bool
	// Seed draws the shapes of a partition that have no name; 0: none are drawn.
	Seed uint64
	// Killable are those of them whose server the plan names, which allows to kill it.
	Killable []string
	// Failover says what the plan's hook of that name runs, on FailoverNode; empty:
	// there is none.
	Failover, FailoverNode string
	// ClockNodes are those of them whose servers may be shown a wrong time of day.
	ClockNodes []string
	// LockPeers and LockPorts are the lock service's addresses and ports as its
	// clients reach them, ResourcePeers the addresses of the resource. PeersUnknown
	// says why there are none.
	LockPeers     []string
	LockPorts     []int
	ResourcePeers []string
	ResourcePorts []int
	PeersUnknown  string
	// PeersLater: there are none yet, because a dry run looks no name up.
	PeersLater bool
	// Observe: the holder in the five steps is the application itself; nil: it is not.
	Observe *Observe
}

// Row is a row of the audit's own in the protected resource.
func (p Params) Row(name string) string { return p.Scope + "/" + name }

// Stage is where a probe acts.
type Stage interface {
	// Client returns the running lock client of that name ("a", "b",
	// "observer"), and whether it was started for this call because none was
	// running. It is kept for the next trial.
	Client(ctx context.Context, name string) (p Process, started bool, err error)
	// Facts stores what inspection found.
	Facts(facts.Deployment) error
	Meter
	Witness
	// Partition makes packets between a node and peers vanish; Heal ends that early.
	// Both return once the agent has read the state back from the kernel. Where the
	// node cannot do it, Partition fails with ErrSkip.
	Partition(ctx context.Context, node string, c Cut) (history.Fault, error)
	Heal(ctx context.Context, node, faultID string) (history.Fault, error)
	// SkewServer shows the lock server on a node another wall clock; Unskew ends that
	// early. Both return once the agent has read it back from the process's memory.
	// Where that cannot be done, SkewServer fails with ErrSkip.
	SkewServer(ctx context.Context, node string, s Skew) (history.Fault, error)
	Unskew(ctx context.Context, node, faultID string) (history.Fault, error)
	// Addresses are a node's own, without loopback.
	Addresses(ctx context.Context, node string) ([]string, error)
	// LockNodes are the nodes of the lock service on which the plan has an agent.
	LockNodes() []string
	// Crash kills the lock server on a node, Hook runs the plan's hook of that name,
	// and End ends either early; all return what was seen afterwards. What the node
	// cannot do, or the plan does not allow, fails with ErrSkip.
	Crash(ctx context.Context, node string, o Outage) (history.Fault, error)
	Hook(ctx context.Context, name string, limit time.Duration) (history.Fault, error)
	End(ctx context.Context, node, kind, faultID string) (history.Fault, error)
}

// Cut is one partition, seen from a node.
type Cut struct {
	// Peers are addresses and CIDRs, IPv4 or IPv6.
	Peers []string
	// Ports of the peers; none: all traffic.
	Ports []int
	// Direction is "in" (what the peers send is lost), "out" (what is sent to them)
	// or, also when empty, "both".
	Direction string
	For       time.Duration
	// Client, if given, is the lock client whose packets alone are cut, where its node
	// can tell them from others; if not, all of the node's are, unless Alone is set:
	// then it fails with ErrSkip.
	Client string
	Alone  bool
	// Instance, if given, is a process of the application, which is cut off as a lock
	// client would be.
	Instance Instance
	// Sever resets the connections that were cut before it ends: what was sent on them
	// meanwhile never arrives.
	Sever bool
	// Hold keeps what is sent to the peers back until the end, instead of losing it.
	Hold bool
}

// kind of the fault.
func (c Cut) kind() string {
	if c.Hold {
		return "hold"
	}
	return partition
}

// Process is a lock client, a process of its own on some node.
type Process interface {
	Conn() *clients.Conn
	Node() string
	// Can reports whether the client declared a capability.
	Can(capability string) bool
	Pauser
	// Skew shows the process another wall clock; see Stage.SkewServer. Stage.Unskew
	// ends it.
	Skew(ctx context.Context, s Skew) (history.Fault, error)
	// Kill ends the process with SIGKILL and returns when it is gone.
	Kill(ctx context.Context) error
}

// Log takes the events of a history.
type Log interface {
	Append(history.Event) (history.Event, error)
}

// Progress says where a probe is. Until is not zero while it waits for a moment
// that is known in advance, such as the end of a lease.
type Progress struct {
	Probe         string
	Trial, Trials int
	Step          string
	Until         time.Time
}

// Trial is one repetition of a probe.
type Trial struct {
	Params
	// Number tells the trials of a run apart. Round counts those that were planned: a
	// trial that is repeated has the same one again.
	Number   int
	Round    int
	Stage    Stage
	Log      Log
	Progress func(step string, until time.Time)

	parties []*party
	// sick are the servers that did not answer before the trial did anything to them.
	sick []string

	mu     sync.Mutex
	broken error // the first event that could not be recorded
}

// record appends an event. When the record cannot be kept the trial is over:
// what is not recorded must not be done.
func (t *Trial) record(e history.Event) history.Event {
	e.Trial = t.Number
	out, err := t.Log.Append(e)
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.broken == nil {
			t.broken = fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
	return out
}

// unrecorded is the error of the first event that could not be recorded.
func (t *Trial) unrecorded() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// Stalled records that the auditor itself did not run for a time during the trial.
func (t *Trial) Stalled(s history.Sample) error {
	t.record(history.Event{Actor: "auditor", Op: history.OpStall, Type: history.Info, Sample: &s})
	return t.unrecorded()
}

// step marks a moment of the script in the history and for whoever watches.
func (t *Trial) step(name string) {
	t.record(history.Event{Actor: "probe", Op: history.OpStep, Type: history.Info, Step: name})
	t.Progress(name, time.Time{})
}

// finish ends the trial: what the clients noticed by themselves has been
// recorded when it returns.
func (t *Trial) finish() {
	for _, p := range t.parties {
		p.stopListening()
	}
}

// Run carries out one trial and reports the first of: the script's error, an
// event that could not be recorded.
func (p Probe) Run(ctx context.Context, t *Trial) error {
	defer t.finish()
	return errors.Join(p.Trial(ctx, t), t.unrecorded())
}
