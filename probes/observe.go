package probes

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// Observe is what a probe must know of an application that is audited as it is.
type Observe struct {
	// TakeWithin is how long to wait for somebody to take the lock.
	TakeWithin time.Duration
	// MaxFault is the plan's cap of a fault.
	MaxFault time.Duration
	// AllowHarm: the late write is let through to the resource.
	AllowHarm bool
	// Canary: the resource refuses by itself, so that a row of the audit's own shows what
	// it would have done.
	Canary bool
	// Nodes are where the application's instances may be.
	Nodes []string
	// Finds says in words how the holder is found, Effects where its writes show; empty:
	// nowhere.
	Finds, Effects string
}

// Who is what the lock service tells about a holder: the text that the holder left
// there, or the connections of which one is its own.
type Who struct {
	Owner string
	Peers []string
}

// Instance is one process of the application.
type Instance interface {
	Node() string
	// ID tells processes apart; String says to people which one it is.
	ID() string
	String() string
	Pauser
	// Restart kills the process and has it started again as it was.
	Restart(ctx context.Context, d time.Duration) (history.Fault, error)
	// Alive reports whether it still runs.
	Alive(ctx context.Context) (bool, error)
	// Unsent lists, in words, what it has written or opened towards the resource and what
	// was not answered: no more than its connections show.
	Unsent(ctx context.Context) ([]string, error)
}

// Pauser is a process that can be stopped. Both return once the agent has read the state
// back from the kernel.
type Pauser interface {
	Pause(ctx context.Context, d time.Duration) (history.Fault, error)
	Resume(ctx context.Context, faultID string) (history.Fault, error)
}

// Effect is one write of the application, as it was seen.
type Effect struct {
	Instance string // ID of the instance; empty: of an unknown one
	Refused  bool
	Token    history.Token
	// Seq is the order in which the resource, or a tap before it, saw it; 0: unknown.
	Seq  uint64
	Text string
}

// Witness is the part of a stage that looks at the application.
type Witness interface {
	// Instance finds the process that holds the lock; ErrSkip says why it cannot, and
	// ErrSeveral that it may be one of several.
	Instance(ctx context.Context, w Who) (Instance, error)
	// Foreign leaves out the connections of the audit's own lock clients.
	Foreign(ctx context.Context, peers []string) ([]string, error)
	// Effects are the writes that were seen since the last call. The first call only
	// marks the beginning.
	Effects(ctx context.Context) ([]Effect, error)
}

// pauseTail is what the end of a pause and its shadow need beside the waits.
const pauseTail = 2 * callLimit

// takeover is how long B may take after A's lease is over, as far as the cap allows.
func (p Params) takeover() time.Duration {
	rest := p.Observe.MaxFault - leaseLimit(p) - p.watchLate() - pauseTail
	return max(callLimit, min(p.Observe.TakeWithin, rest))
}

// watchLate is how long A is watched after it was resumed: a lease, in which every
// client that renews has to ask the service, and at least as long as a request that
// was half done may wait before it goes on.
func (p Params) watchLate() time.Duration { return max(p.TTL, 2*time.Second) }

// pauseLimit is the deadline of the pause, shadowLimit that of the cut, which must be
// there for as long as A runs with a lock that it has lost.
func pauseLimit(p Params) time.Duration { return leaseLimit(p) + p.takeover() }

func shadowLimit(p Params) time.Duration { return pauseLimit(p) + p.watchLate() + pauseTail }

// observedLimit is the longest fault of the five steps, with or without an application.
func observedLimit(p Params) time.Duration {
	switch {
	case p.Observe == nil:
		return leaseLimit(p)
	case p.Observe.AllowHarm:
		return pauseLimit(p)
	}
	return shadowLimit(p)
}

// explainObserved says what is done to the application, and what is not.
func explainObserved(p Params) []string {
	o := p.Observe
	out := []string{
		fmt.Sprintf("read %s, the application's own key, every %s from node %s, for up to %s until somebody holds it", p.RealKey, pollEvery, p.NodeB, o.TakeWithin),
		"find the holder's process: " + o.Finds,
		fmt.Sprintf("SIGSTOP of that process and its children, for at most %s; it is resumed as soon as another instance has taken the lock", pauseLimit(p)),
	}
	if o.AllowHarm {
		out = append(out, "let its late write through to the resource (safety.allow_harm) and see what becomes of it")
	} else {
		out = append(out,
			fmt.Sprintf("cut that process off from the resource (%v, port %v) before it is resumed, for at most %s, and reset what it has sent before the cut ends: its late write never arrives", p.ResourcePeers, p.ResourcePorts, shadowLimit(p)),
			"if it still tries then, kill that process and have it started again as it was",
		)
		if o.Canary {
			out = append(out, fmt.Sprintf("try a stale token and none on the row %s of the protected resource, with lock clients of the audit's own on the key %s", p.Row("late-N"), p.Key))
		}
	}
	if o.Effects == "" {
		return append(out, "the application's writes are not looked at: the plan names no effects")
	}
	return append(out, "look for its writes in "+o.Effects)
}

// keepsOff: without a cut from the resource the late write would arrive.
func keepsOff(p Params) string {
	if p.Observe == nil || p.Observe.AllowHarm {
		return ""
	}
	switch {
	case len(p.ResourcePeers) == 0 && !p.PeersLater:
		return "the application's late write could not be kept off: the address of the resource is not known: " + p.PeersUnknown
	case sharesService(p):
		return "the application's late write could not be kept off: the resource is the lock service itself, and a cut would hide from the application that it lost the lock; safety.allow_harm, in a lab, lets the write through"
	}
	return ""
}

// sharesService: one server, by address and port, is both.
func sharesService(p Params) bool {
	return slices.ContainsFunc(p.LockPeers, func(a string) bool { return slices.Contains(p.ResourcePeers, a) }) &&
		slices.ContainsFunc(p.LockPorts, func(n int) bool { return slices.Contains(p.ResourcePorts, n) })
}
