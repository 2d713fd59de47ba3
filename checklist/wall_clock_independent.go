package checklist

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func wallClockIndependent() Item {
	return Item{
		ID:       "wall_clock_independent",
		Question: "is the lock independent of wall clocks?",
		Why:      "A lease on a clock that NTP or an administrator can step ends early, and then two clients hold the lock.",
		Severity: Major,
		Probes:   []string{jumpServer, clockDrift, jumpHolder},
		Beside:   []string{inspect},
		Fix: map[string]string{
			"redis": "Redis expires keys by the server's wall clock: keep the servers' clocks together, slew them (chrony with makestep off) and never step them, or move the lock to a service whose leases run on monotonic time.",
			"":      "Use a service whose leases run on monotonic time, and measure the holder's lease with its monotonic clock.",
		},
		Judge: judgeWallClock,
	}
}

// clockTrial is how one trial under a wrong clock went: it shows that the lock
// depends on the clock (bad), that it does not, or nothing (missing).
type clockTrial struct {
	bad, shown, missing string
	harm                bool
	evidence            []Evidence
}

// judgeWallClock adds what inspection saw of the servers' clocks to what the trials
// showed: where leases go by the wall clock, servers that differ are a warning.
func judgeWallClock(run record.Run) Finding {
	f := judgeClockTrials(run)
	if item := wallClockIndependent(); !produced(run, item.Probes) {
		f = Finding{Summary: notTested(item, run)}
	}
	clocks := compareClocks(run)
	if clocks.seen == "" || f.Outcome == Fail && !clocks.apart {
		return f
	}
	if clocks.apart && f.Outcome != Fail {
		f.Outcome, f.Summary, f.Evidence = Warn, clocks.seen+"; "+f.Summary, append(clocks.evidence, f.Evidence...)
		return f
	}
	f.Summary += "; " + clocks.seen
	f.Evidence = append(f.Evidence, clocks.evidence...)
	return f
}

// judgeClockTrials passes if the servers' clocks were stepped past a lease that then
// went on, and if the holder's were stepped too. What depends on a clock in one of the
// trials fails.
func judgeClockTrials(run record.Run) Finding {
	server, drift, holder := eachTrial(run, jumpServer, serverClock), eachTrial(run, clockDrift, serverClock), eachTrial(run, jumpHolder, holderClock)
	f := Finding{}
	for _, all := range [][]clockTrial{server, drift, holder} {
		for _, c := range all {
			f.Trials.Of++
			if c.bad == "" {
				continue
			}
			f.Trials.Shown++
			if f.Outcome != Fail || c.harm && !f.Harm {
				f.Outcome, f.Harm, f.Summary, f.Evidence = Fail, c.harm, c.bad, c.evidence
			}
		}
	}
	if f.Outcome == Fail {
		return f
	}
	var shown, missing []string
	decided := 0
	for _, p := range []struct {
		probe string
		all   []clockTrial
		must  bool
	}{{jumpServer, server, true}, {clockDrift, drift, false}, {jumpHolder, holder, true}} {
		why := notRun(run, p.probe)
		for _, c := range p.all {
			if why = c.missing; why == "" {
				f.Trials.Shown++
				f.Evidence = append(f.Evidence, c.evidence...)
				shown = append(shown, c.shown)
				break
			}
		}
		switch {
		case why != "":
			missing = append(missing, why)
		case p.must:
			decided++
		}
	}
	f.Summary = strings.Join(append(shown, missing...), "; ")
	if decided == 2 {
		f.Outcome = Pass
	}
	return f
}

func eachTrial(run record.Run, probe string, read func(record.Run, trial) clockTrial) []clockTrial {
	var out []clockTrial
	for _, t := range trials(run, probe) {
		c := read(run, t)
		if c.missing == "" && c.bad == "" && !t.complete {
			c.missing = probe + " was not carried to its end"
		}
		slices.SortStableFunc(c.evidence, func(x, y Evidence) int { return cmp.Compare(x.At, y.At) })
		out = append(out, c)
	}
	return out
}

// serverClock reads a trial in which the lock servers' clocks were wrong.
func serverClock(run record.Run, t trial) clockTrial {
	what := map[string]string{jumpServer: "jumped ahead", clockDrift: "ran fast"}[t.probe]
	grant := t.first(0, "a", history.OpAcquire, granted)
	if grant == nil {
		return clockTrial{missing: "A never acquired the lock"}
	}
	for _, c := range t.calls {
		if c.Invoke.Op == history.OpInject && !ok(c) {
			return clockTrial{missing: "the wrong clock of " + c.Invoke.Node + " was never confirmed"}
		}
	}
	wrong := t.lastInject()
	if wrong == 0 {
		return clockTrial{missing: "no clock was wrong"}
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

// believable: every server that shows its clock showed a wrong one, with more certainty
// than its reading has. A server that does not show it is taken at the agent's word,
// which has read the server's memory.
func (t trial) believable(after int) bool {
	for _, e := range t.events {
		if e.Op == history.OpClock && e.Seq > after && e.Clock != nil && e.Clock.Ahead < e.Clock.Error {
			return t.probe == clockDrift && e.Clock.Error > 100*time.Millisecond // too coarse to show a drift
		}
	}
	return true
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
