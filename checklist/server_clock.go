package checklist

import (
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// serverClock reads a trial in which the lock servers' clocks were wrong.
func serverClock(run record.Run, t trial) clockTrial {
	what := map[string]string{jumpServer: "jumped ahead", clockDrift: "ran fast"}[t.probe]
	grant, wrong, why := t.underWrongClocks()
	if why != "" {
		return clockTrial{missing: why}
	}
	ttl := lease(run, grant)
	clocks := t.wrongClocks(wrong)
	ofA := t.cite(grant, "")
	skewed := t.cite(t.first(end(grant), "agent", history.OpInject), "")
	// A tenth of the lease is allowed for how a service counts.
	if gone := t.first(wrong, "a", history.OpObserve, free); gone != nil && gone.Done.At < grant.Invoke.At+ttl*9/10 {
		c := clockTrial{bad: fmt.Sprintf("A's lease of %s was over %s after it began, when the lock servers' clocks %s",
			Duration(ttl), Duration(gone.Done.At-grant.Invoke.At), what)}
		c.evidence = append(append(append(ofA, skewed...), clocks...), t.cite(gone, "A's lease should still run")...)
		before := t.first(end(grant), "b", history.OpAcquire, refused)
		if b := t.first(end(gone), "b", history.OpAcquire, granted); before != nil && end(before) < wrong && b != nil && b.Done.At < grant.Invoke.At+ttl {
			c.harm = true
			c.bad += ", and B was granted the lock while A held it"
			c.evidence = append(append(c.evidence, t.cite(before, "")...), t.cite(b, "A holds it")...)
		}
		return c
	}
	refusal := t.first(wrong, "b", history.OpAcquire, refused)
	held := t.lastHeld(wrong)
	switch {
	case held == nil || refusal == nil:
		return clockTrial{missing: "the lock was not seen to be held, and refused to B, when the lock servers' clocks " + what}
	case !t.believable(wrong):
		return clockTrial{missing: "the lock servers' own clocks do not show that they " + what}
	}
	return clockTrial{
		shown:    fmt.Sprintf("the lock servers' clocks %s, and A's lease went on", what),
		evidence: append(append(append(append(ofA, skewed...), clocks...), t.cite(held, "")...), t.cite(refusal, "")...),
	}
}

// wrongClocks cites what the servers' clocks showed after an event.
func (t trial) wrongClocks(after int) (out []Evidence) {
	for _, e := range t.events {
		if e.Op == history.OpClock && e.Seq > after {
			out = append(out, t.quote(e, "")...)
		}
	}
	return out
}

// believable: as many of the servers that show their clock as were to have a wrong one
// showed one, with more certainty than its reading has. A server that does not show it is taken at the agent's word,
// which has read the server's memory.
func (t trial) believable(after int) bool {
	shown, right := 0, 0
	for _, e := range t.events {
		if e.Op != history.OpClock || e.Seq <= after || e.Clock == nil {
			continue
		}
		shown++
		wrong := e.Clock.Ahead
		if t.jumpsBack() {
			wrong = -wrong
		}
		if wrong >= e.Clock.Error {
			continue
		}
		if t.probe == clockDrift && e.Clock.Error > 100*time.Millisecond {
			return true // too coarse to show a drift
		}
		right++
	}
	return right <= max(0, shown-t.skewed())
}

// skewed counts the servers whose clocks were made wrong: where clients count votes, a
// majority of them.
func (t trial) skewed() int {
	n := 0
	for _, c := range t.calls {
		if c.Invoke.Op == history.OpInject && ok(c) {
			n++
		}
	}
	return n
}

// lastHeld is A's last look that found the lock held.
func (t trial) lastHeld(after int) *history.Call {
	var last *history.Call
	for i, c := range t.calls {
		if c.Invoke.Seq > after && c.Invoke.Actor == "a" && c.Invoke.Op == history.OpObserve && ok(c) && c.Done.Holder != nil && c.Done.Holder.Held {
			last = &t.calls[i]
		}
	}
	return last
}

// underWrongClocks finds A's grant and the last fault, all of which must be confirmed.
func (t trial) underWrongClocks() (grant *history.Call, wrong int, missing string) {
	if grant = t.first(0, "a", history.OpAcquire, granted); grant == nil {
		return nil, 0, "A never acquired the lock"
	}
	for _, c := range t.calls {
		if c.Invoke.Op == history.OpInject && !ok(c) {
			return nil, 0, "the wrong clock of " + c.Invoke.Node + " was never confirmed"
		}
	}
	if wrong = t.lastInject(); wrong == 0 {
		return nil, 0, "no clock was wrong"
	}
	return grant, wrong, ""
}
