package history

import (
	"slices"
	"time"
)

// Overlap is a time in which an actor still believed that it held a lock after
// another had been granted it. With a lease no lock service can prevent this, so it
// is no double grant; the resource decides whether it does harm.
type Overlap struct {
	Key   string
	Trial int
	// Believer acquired first, Holder later.
	Believer, Holder string
	From, To         time.Duration
	// Open: the history ends before the believer noticed; To is its last event.
	Open bool
	// AfterRevert is the part after the last fault on the believer ended within the
	// overlap: until then it could not have noticed.
	AfterRevert time.Duration
	// Acquired and Noticed are the Seqs of the holder's grant and of the event that
	// ended the overlap; 0 if Open.
	Acquired, Noticed int
}

// Duration of the overlap.
func (o Overlap) Duration() time.Duration { return o.To - o.From }

// belief is the time in which an actor thinks that it holds.
type belief struct {
	key, actor string
	trial      int
	from, to   time.Duration
	open       bool
	began, end int // Seqs
}

// Belief returns the overlaps of what clients believed, in the order in which the
// later one was granted. A belief begins with an ok acquire and ends when the actor
// releases, is told that it lost (a lost notice, a status without the lock, a renew
// or release that fails as lost, a write refused as stale), acquires again, or dies.
func Belief(events []Event) []Overlap {
	var overlaps []Overlap
	var earlier []belief // not over yet when b began
	for _, b := range believed(events) {
		earlier = slices.DeleteFunc(earlier, func(a belief) bool { return a.to <= b.from })
		for _, a := range earlier {
			if a.key != b.key || a.actor == b.actor || a.trial != b.trial {
				continue
			}
			o := Overlap{
				Key: a.key, Trial: b.trial, Believer: a.actor, Holder: b.actor,
				From: b.from, To: a.to, Open: a.open, Acquired: b.began, Noticed: a.end,
			}
			if b.to < a.to {
				o.To, o.Open, o.Noticed = b.to, b.open, b.end
			}
			o.AfterRevert = afterRevert(events, o)
			overlaps = append(overlaps, o)
		}
		earlier = append(earlier, b)
	}
	return overlaps
}

// believed returns the beliefs in the order in which they began.
func believed(events []Event) []belief {
	type holder struct{ actor, key string }
	var beliefs []belief
	current := map[holder]int{}
	last := map[int]time.Duration{} // by trial
	p := pair(events)
	end := func(h holder, e *Event) {
		if i, ok := current[h]; ok && e.At >= beliefs[i].from {
			beliefs[i].to, beliefs[i].end, beliefs[i].open = e.At, e.Seq, false
			delete(current, h)
		}
	}
	endAll := func(e *Event) {
		for h := range current {
			if h.actor == e.Actor {
				end(h, e)
			}
		}
	}
	for _, i := range byTime(events) {
		e := &events[i]
		last[e.Trial] = e.At
		h := holder{e.Actor, e.Key}
		if at := p.invoke[i]; at >= 0 && h.key == "" {
			h.key = events[at].Key
		}
		switch {
		case e.Op == OpAcquire && e.Type == OK:
			end(h, e)
			current[h] = len(beliefs)
			beliefs = append(beliefs, belief{key: h.key, actor: e.Actor, trial: e.Trial, from: e.At, open: true, began: e.Seq})
		case e.Op == OpRelease && e.Type == Invoke:
			end(h, e)
		case noticed(e) && h.key != "":
			end(h, e)
		case noticed(e), e.Type == OK && (e.Op == OpKill || e.Op == OpStart), e.Op == OpExit && e.Type != Invoke:
			endAll(e)
		}
	}
	for i := range beliefs {
		if beliefs[i].open {
			beliefs[i].to = last[beliefs[i].trial]
		}
	}
	return beliefs
}

// noticed: does the actor know from this event that it does not hold?
func noticed(e *Event) bool {
	switch e.Op {
	case OpLost:
		return e.Type != Invoke
	case OpStatus:
		return e.Type == OK && e.Holding != nil && !*e.Holding
	case OpRenew, OpRelease:
		return e.Type == Fail && e.Code == CodeLost
	case OpWrite:
		return e.Type == Fail && e.Code == CodeStale
	}
	return false
}

// afterRevert is how much of the overlap lies after the last fault on the believer
// was reverted within it; all of it if none was.
func afterRevert(events []Event, o Overlap) time.Duration {
	from := o.From
	for i := range events {
		e := &events[i]
		ended := e.Op == OpRevert && e.Type == OK && e.Trial == o.Trial
		if ended && e.Fault != nil && e.Fault.Target == o.Believer && e.At < o.To {
			from = max(from, e.At)
		}
	}
	return o.To - from
}
