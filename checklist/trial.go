package checklist

import (
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// Probes that judges read.
const (
	pauseHolder  = "pause-holder-past-ttl"
	crashHolder  = "crash-holder"
	contend      = "contend"
	tokenBattery = "token-battery"

	cutHolder       = "partition-holder-past-ttl"
	partServers     = "partition-lock-servers"
	isolateLeader   = "isolate-lock-leader"
	loseNode        = "lose-node"
	doubleExecution = "double-execution"
	lostUpdate      = "lost-update"
	replayOperation = "replay-operation"
	delayWrite      = "delay-write-in-flight"
	loseReply       = "lose-acquire-reply"
	crashPrimary    = "crash-lock-primary"
	restartServer   = "restart-lock-server"

	jumpServer = "clock-jump-lock-server"
	jumpHolder = "clock-jump-holder"
	clockDrift = "clock-drift"
)

// trial is one repetition of a probe with its calls paired.
type trial struct {
	probe  string
	number int
	// complete: the script came to its end. Only such a trial can stand behind a
	// pass; a failure counts in any.
	complete bool
	events   []history.Event
	calls    []history.Call
}

// trials splits a probe's history, in the order in which they began.
func trials(run record.Run, probe string) []trial {
	events := run.Histories[probe]
	var out []trial
	for _, n := range history.Trials(events) {
		own := history.Trial(events, n)
		out = append(out, trial{
			probe: probe, number: n, complete: whole(run, probe, n),
			events: own, calls: history.Calls(own),
		})
	}
	return out
}

// whole reports whether the trial came to its end.
func whole(run record.Run, probe string, trial int) bool {
	for _, p := range run.Manifest.Probes {
		if p.Name == probe {
			return p.Whole(trial)
		}
	}
	return false
}

// stalled is the longest time for which the auditor, whose clock stamps everything,
// did not run during the trial; 0 if that was never long enough to matter.
func (t trial) stalled() time.Duration {
	longest := time.Duration(0)
	for _, e := range t.events {
		if e.Op == history.OpStall && e.Sample != nil {
			longest = max(longest, time.Duration(e.Sample.Max))
		}
	}
	return longest
}

// first returns the first call of an actor that was invoked after the event with
// the given Seq and satisfies every condition; nil if there is none.
func (t trial) first(after int, actor string, op history.Op, conditions ...func(history.Call) bool) *history.Call {
next:
	for i, c := range t.calls {
		if c.Invoke.Seq <= after || c.Invoke.Actor != actor || c.Invoke.Op != op {
			continue
		}
		for _, holds := range conditions {
			if !holds(c) {
				continue next
			}
		}
		return &t.calls[i]
	}
	return nil
}

// ok: it happened.
func ok(c history.Call) bool { return c.Done != nil && c.Done.Type == history.OK }

// refused: it definitely did not happen.
func refused(c history.Call) bool { return c.Done != nil && c.Done.Type == history.Fail }

func granted(c history.Call) bool { return ok(c) && c.Done.Grant != nil }

// accepted and rejected read a call that may be missing.
func accepted(c *history.Call) bool { return c != nil && ok(*c) }
func rejected(c *history.Call) bool { return c != nil && refused(*c) }

// end is the Seq after which what follows the call begins.
func end(c *history.Call) int {
	if c == nil || c.Done == nil {
		return 0
	}
	return c.Done.Seq
}

// lease is the lease as granted, or as asked for where the grant does not say.
func lease(run record.Run, grant *history.Call) time.Duration {
	if accepted(grant) && grant.Done.Grant != nil && grant.Done.Grant.TTL > 0 {
		return grant.Done.Grant.TTL
	}
	return run.Manifest.Subject.TTL
}
