package main

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// wait is a time in which an audit could do nothing but wait, as its record shows.
//
//	lease     from the start of a lease, or of its last renewal, until the service says
//	          that it is over, or grants the lock to another
//	notice    a holder that comes too late is watched whether it notices, for a lease
//	window    a measurement, and the windows in which metrics and log are watched
//	election  from a cut until the service names another leader or grants again. If it
//	          granted at once when it was asked, nobody knows since when it could have,
//	          and only the time up to the last request that it left unanswered counts
//	asking    the side that is refused nothing is asked for half a lease after the other
//	          was granted the lock; both for the whole limit if neither is granted it
//	watch     a clock is wrong and the lock is watched, until B tries to acquire it, or the
//	          holder whose clock it is has renewed; for a lease at most
//	recovery  from a heal until the service answers again, by each of its servers
type wait struct {
	kind     string
	from, to time.Duration
}

// brief is how long a call may take that waited for nothing.
const brief = 200 * time.Millisecond

// waits reads every wait out of the histories, in the order of the clock.
func waits(run record.Run) []wait {
	var all []wait
	for _, probe := range slices.Sorted(maps.Keys(run.Histories)) {
		events := run.Histories[probe]
		for _, n := range history.Trials(events) {
			t := trialWaits{ttl: run.Manifest.Subject.TTL, events: history.Trial(events, n)}
			t.calls = history.Calls(t.events)
			t.windows()
			t.leases()
			t.notice()
			t.sides()
			t.clocks()
			all = append(all, t.found...)
		}
	}
	slices.SortFunc(all, func(x, y wait) int { return cmp.Compare(x.from, y.from) })
	return all
}

// covered is how long the waits last together; what two of them share counts once, for
// the one that began first.
func covered(all []wait) (total time.Duration, byKind map[string]time.Duration) {
	byKind = map[string]time.Duration{}
	end := time.Duration(0)
	for _, w := range all {
		if from := max(w.from, end); w.to > from {
			total += w.to - from
			byKind[w.kind] += w.to - from
			end = w.to
		}
	}
	return total, byKind
}

type trialWaits struct {
	ttl    time.Duration
	events []history.Event
	calls  []history.Call
	found  []wait
}

func (t *trialWaits) add(kind string, from, to time.Duration) {
	if to > from {
		t.found = append(t.found, wait{kind, from, to})
	}
}

func (t *trialWaits) windows() {
	for _, e := range t.events {
		switch {
		case e.Op == history.OpMeasure && e.Type == history.OK && e.Sample != nil:
			t.add("window", e.At-e.Sample.Over, e.At)
		case e.Op == history.OpSignal && e.Type != history.Invoke && e.Signal != nil:
			t.add("window", e.At-e.Signal.Over, e.At)
		}
	}
}

// leases: somebody was seen to hold, and then nobody; or an acquire took its time
// because another's lease had to run out.
func (t *trialWaits) leases() {
	held := map[string]bool{} // by the actor that looks
	began := map[string]time.Duration{}
	for _, e := range t.events {
		switch {
		case e.Type != history.OK:
		case e.Op == history.OpObserve && e.Holder != nil:
			if held[e.Actor] && !e.Holder.Held && len(began) > 0 {
				t.add("lease", latest(began, ""), e.At)
			}
			held[e.Actor] = e.Holder.Held
		case e.Op == history.OpRelease:
			delete(began, e.Actor)
		case e.Op == history.OpRenew && e.Grant != nil:
			began[e.Actor] = e.At
			if e.Grant.Since != nil {
				began[e.Actor] = *e.Grant.Since
			}
		case e.Op == history.OpAcquire && e.Grant != nil:
			asked := t.invoke(e)
			if other := latest(began, e.Actor); other > 0 && e.At-asked > brief {
				t.add("lease", other, e.At)
			}
			began[e.Actor] = asked
		}
	}
}

// latest is when the youngest lease began, without one actor's own.
func latest(began map[string]time.Duration, but string) time.Duration {
	youngest := time.Duration(0)
	for actor, at := range began {
		if actor != but {
			youngest = max(youngest, at)
		}
	}
	return youngest
}

func (t *trialWaits) invoke(done history.Event) time.Duration {
	for _, c := range t.calls {
		if c.Invoke.Seq == done.Call {
			return c.Invoke.At
		}
	}
	return done.At
}

// notice: what A is asked, or says, after its stale write, which comes after B's.
func (t *trialWaits) notice() {
	last, late := time.Duration(0), false
	for _, e := range t.events {
		switch {
		case e.Op == history.OpWrite && e.Actor == "b":
			late = true
		case late && e.Op == history.OpWrite && e.Type != history.Invoke && e.Actor == "a":
			last = e.At
		case last > 0 && e.Actor == "a" && (e.Op == history.OpLost || e.Op == history.OpStatus && e.Type == history.Invoke):
			t.add("notice", last, min(e.At, last+t.ttl))
			last = 0
		}
	}
}

// sides: the service was parted, somebody asked it, and it was healed.
func (t *trialWaits) sides() {
	cut, healing, healed := time.Duration(0), time.Duration(0), time.Duration(0)
	for _, c := range t.calls {
		if c.Invoke.Fault == nil || c.Done == nil || c.Invoke.Fault.Kind != "partition" && c.Invoke.Fault.Kind != "crash" {
			continue
		}
		switch c.Invoke.Op {
		case history.OpInject:
			cut = max(cut, c.Done.At)
		case history.OpRevert:
			if healing == 0 {
				healing = c.Invoke.At
			}
			healed = max(healed, c.Done.At)
		}
	}
	if cut == 0 || healing == 0 {
		return
	}
	t.election(cut, healing)
	answered := healed
	for _, e := range t.events {
		if e.At > healed && e.Op == history.OpObserve && e.Type == history.OK {
			answered = e.At
		}
	}
	t.add("recovery", healed, answered)
}

func (t *trialWaits) election(cut, healing time.Duration) {
	for _, e := range t.events {
		if e.Op == history.OpLead && e.At > cut && e.At < healing {
			t.add("election", cut, e.At)
			return
		}
	}
	unanswered, asked := cut, map[string]int{}
	for _, c := range t.calls {
		if c.Invoke.Op != history.OpAcquire || c.Invoke.At < cut || c.Invoke.At > healing {
			continue
		}
		asked[c.Invoke.Actor]++
	}
	if len(asked) < 2 {
		return // a holder was cut off, not the service parted
	}
	for _, c := range t.calls {
		if c.Invoke.Op != history.OpAcquire || c.Invoke.At < cut || c.Done == nil {
			continue
		}
		if c.Done.Type != history.OK {
			unanswered = max(unanswered, c.Invoke.At)
			continue
		}
		granted := c.Done.At
		if granted-c.Invoke.At <= brief {
			granted = min(unanswered, c.Invoke.At)
		}
		t.add("election", cut, granted)
		t.add("asking", c.Done.At, min(c.Done.At+t.ttl/2, healing))
		return
	}
	t.add("asking", cut, healing)
}

// clocks: what the script watches between a step of a clock and its next act.
func (t *trialWaits) clocks() {
	wrong, holders := time.Duration(0), false
	for _, e := range t.events {
		switch {
		case e.Fault != nil && e.Fault.Kind == "clock" && e.Op == history.OpInject && e.Type == history.OK:
			wrong, holders = e.At, e.Fault.Target == "a"
		case e.Fault != nil && e.Op == history.OpRevert:
			wrong = 0
		case wrong > 0 && (holders && e.Actor == "a" && e.Op == history.OpRenew && e.Type == history.OK ||
			!holders && e.Actor == "b" && e.Op == history.OpAcquire && e.Type == history.Invoke):
			t.add("watch", wrong, min(e.At, wrong+t.ttl))
			wrong = 0
		}
	}
}
