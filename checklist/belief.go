package checklist

import (
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// noticed returns the first event that shows that A knows by its own doing, and not
// by a refusal of service or resource, that its hold is over; nil if there is none.
// A process that is stopped can know nothing before it runs again, and B was granted
// the lock before that; one that is cut off may know before B is.
func (s fiveSteps) noticed() *history.Event {
	from := end(s.bGrant)
	if s.fault == cutOff() {
		from = end(s.pause)
	}
	for i, e := range s.events {
		if e.Actor == "a" && e.Seq > from && noticesLossItself(e) {
			return &s.events[i]
		}
	}
	return nil
}

func noticesLossItself(e history.Event) bool {
	return e.Op == history.OpLost || e.Op == history.OpStatus && e.Type == history.OK && e.Holding != nil && !*e.Holding
}

// stillHolds: the actor says of itself that it holds the lock.
func stillHolds(e history.Event) bool {
	return e.Op == history.OpStatus && e.Type == history.OK && e.Holding != nil && *e.Holding
}

// overlap is how long A believed that it held while B held. open: A did not notice
// by itself: the record ends, the script has it release the lock, or a refusal
// tells it. Without that it would have gone on, so the true time is longer.
func (s fiveSteps) overlap() (d time.Duration, open bool) {
	return overlapOf(s.trial, "a", "b", s.noticed() == nil)
}

// overlapOf is the longest overlap of one actor's belief with another's hold in a
// trial. A refused write ends it, unless the actor says later that it still holds, or
// that it has lost the lock only now.
func overlapOf(t trial, believer, holder string, unnoticed bool) (d time.Duration, open bool) {
	for _, o := range history.Belief(t.events) {
		if o.Believer != believer || o.Holder != holder {
			continue
		}
		to := o.To
		for _, e := range t.events {
			if e.Actor == believer && (stillHolds(e) || e.Op == history.OpLost) {
				to = max(to, e.At)
			}
		}
		if to-o.From >= d {
			d, open = to-o.From, o.Open || unnoticed
		}
	}
	return d, open
}

// Overlap is the time in which a late holder believed that it held the lock while
// another client held it.
type Overlap struct {
	For time.Duration
	// Open: it still believed when the trial ended, so the true time is longer.
	Open bool
	// Probe and Trial show it.
	Probe string
	Trial int
}

// BeliefOverlap is the longest overlap of all probes in which a holder comes too
// late, or in which two hold at once. ok is false if none came that far.
func BeliefOverlap(run record.Run) (longest Overlap, ok bool) {
	take := func(o Overlap) {
		if !ok || o.For > longest.For {
			longest, ok = o, true
		}
	}
	for _, s := range bothSteps(run) {
		if s.resume != nil && !s.observed { // what an application believes nobody can see
			d, open := s.overlap()
			take(Overlap{d, open, s.probe, s.number})
		}
	}
	for _, probe := range []string{lostUpdate, doubleExecution, partServers, isolateLeader, loseNode} {
		for _, t := range trials(run, probe) {
			for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
				if d, open := overlapOf(t, pair[0], pair[1], !t.noticesLoss(pair[0])); d > 0 {
					take(Overlap{d, open, t.probe, t.number})
				}
			}
		}
	}
	return longest, ok
}

// noticesLoss: the actor says of itself, at some time, that it does not hold any more.
func (t trial) noticesLoss(actor string) bool {
	for _, e := range t.events {
		if e.Actor == actor && noticesLossItself(e) {
			return true
		}
	}
	return false
}
