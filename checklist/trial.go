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
			probe: probe, number: n, complete: n <= completed(run, probe),
			events: own, calls: history.Calls(own),
		})
	}
	return out
}

// completed is how many trials of the probe came to their end: the auditor stops
// a probe at its first trial that does not.
func completed(run record.Run, probe string) int {
	for _, p := range run.Manifest.Probes {
		if p.Name == probe {
			return p.Completed
		}
	}
	return 0
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
