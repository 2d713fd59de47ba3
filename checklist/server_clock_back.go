package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// caseBack is the case of a trial in which the servers' clocks jump back; see package
// probes.
const caseBack = "back"

// jumpsBack: the trial was about a jump back.
func (t trial) jumpsBack() bool {
	for _, e := range t.events {
		if e.Op == history.OpStep && e.Case == caseBack {
			return true
		}
	}
	return false
}

// serverClockBack reads a trial in which the lock servers' clocks jumped back and the
// holder was killed: its lease must end all the same. One that goes on, and ends when
// the clocks are put right, was kept by them. That harms nobody's data; it stops the
// work.
func serverClockBack(run record.Run, t trial) clockTrial {
	grant, wrong, why := t.underWrongClocks()
	if why != "" {
		return clockTrial{missing: why}
	}
	before := t.first(end(grant), "b", history.OpAcquire, refused)
	ran := t.first(wrong, "observer", history.OpObserve, taken)
	kill := t.first(end(ran), "a", history.OpKill, ok)
	switch {
	case before == nil || end(before) >= wrong:
		return clockTrial{missing: "B was not refused the lock that A held"}
	case ran == nil:
		return clockTrial{missing: "A's lease was not seen to run on when the lock servers' clocks had jumped back"}
	case kill == nil:
		return clockTrial{missing: "A was not killed while the lock servers' clocks were behind"}
	case !t.believable(wrong):
		return clockTrial{missing: "the lock servers' own clocks do not show that they jumped back"}
	}
	ttl := lease(run, grant)
	limit := ttl + takeoverSlack(ttl)
	evidence := append(t.cite(grant, ""), t.cite(t.first(end(grant), "agent", history.OpInject), "")...)
	evidence = append(append(append(evidence, t.cite(ran, "")...), t.wrongClocks(wrong)...), t.cite(kill, "")...)
	right := t.first(end(kill), "agent", history.OpRevert)
	over := t.first(end(kill), "observer", history.OpObserve, free)
	b := t.first(end(kill), "b", history.OpAcquire)
	switch {
	case right == nil || b == nil || end(b) > right.Invoke.Seq:
		return clockTrial{missing: "nobody asked for the lock after A was killed while the lock servers' clocks were behind"}
	case over != nil && end(over) < right.Invoke.Seq && accepted(b):
		return clockTrial{
			shown:    fmt.Sprintf("the lock servers' clocks jumped back, and A's lease was over %s after A was killed", Duration(over.Done.At-kill.Done.At)),
			evidence: append(append(evidence, t.cite(over, "")...), t.cite(b, "")...),
		}
	}
	last := t.last("observer", right.Invoke.Seq, taken)
	switch {
	case last == nil || !rejected(b) || last.Invoke.At < kill.Done.At+limit:
		return clockTrial{missing: "it was not seen whether A's lease ends while the lock servers' clocks are behind"}
	case t.stalled() > 0:
		return clockTrial{missing: fmt.Sprintf("A's lease ended late, but the auditor itself did not run for %s meanwhile", Duration(t.stalled()))}
	case right.Done == nil || over == nil || end(over) < right.Invoke.Seq || over.Done.At > right.Done.At+takeoverSlack(ttl):
		return clockTrial{missing: "A's lease did not end while the lock servers' clocks were behind, and not when they were right again"}
	}
	evidence = append(append(append(evidence, t.cite(last, "A is dead")...), t.cite(b, "")...), t.cite(right, "the clock is right again")...)
	return clockTrial{
		bad: fmt.Sprintf("A's lease of %s was still running %s after A was killed, when the lock servers' clocks had jumped back; it ended when they were put right",
			Duration(ttl), Duration(last.Invoke.At-kill.Done.At)),
		evidence: append(evidence, t.cite(over, "")...),
	}
}

// last is an actor's last look before an event that satisfies the condition.
func (t trial) last(actor string, before int, holds func(history.Call) bool) *history.Call {
	var last *history.Call
	for i, c := range t.calls {
		if c.Invoke.Actor == actor && c.Invoke.Op == history.OpObserve && end(&c) < before && holds(c) {
			last = &t.calls[i]
		}
	}
	return last
}
