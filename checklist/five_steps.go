package checklist

import (
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// fiveSteps is what one trial of pause-holder-past-ttl recorded: acquire on A,
// pause A, expire and acquire on B, resume A, A writes with its stale token. A
// call that never came is nil.
type fiveSteps struct {
	trial
	aGrant, aFirst, pause, expired, bGrant, bWrite, resume, aStale *history.Call
}

func allFiveSteps(run record.Run) []fiveSteps {
	var out []fiveSteps
	for _, t := range trials(run, pauseHolder) {
		out = append(out, readFiveSteps(t))
	}
	return out
}

// readFiveSteps looks for each link after the one before it, in the order of the
// controller's clock.
func readFiveSteps(t trial) fiveSteps {
	s := fiveSteps{trial: t}
	if s.aGrant = t.first(0, "a", history.OpAcquire, granted); s.aGrant == nil {
		return s
	}
	s.aFirst = t.first(end(s.aGrant), "a", history.OpWrite)
	s.pause = t.first(end(s.aGrant), "agent", history.OpInject, ok, pauseOfA)
	if s.pause == nil {
		return s
	}
	s.expired = t.first(end(s.pause), "observer", history.OpObserve, free)
	if s.bGrant = t.first(end(s.pause), "b", history.OpAcquire, granted); s.bGrant == nil {
		return s
	}
	if s.bWrite = t.first(end(s.bGrant), "b", history.OpWrite); s.bWrite == nil {
		return s
	}
	if s.resume = t.first(end(s.bWrite), "agent", history.OpRevert, ok, pauseOfA); s.resume == nil {
		return s
	}
	s.aStale = t.first(end(s.resume), "a", history.OpWrite)
	return s
}

func pauseOfA(c history.Call) bool {
	f := c.Invoke.Fault
	return f != nil && f.Kind == "pause" && f.Target == "a"
}

func free(c history.Call) bool {
	return ok(c) && c.Done.Holder != nil && !c.Done.Holder.Held
}

// outlived: the pause provably outlasted the lease, and B got the lock meanwhile.
// missing names the first link without which that is not shown.
func (s fiveSteps) outlived() (missing string, ok bool) {
	switch {
	case s.aGrant == nil:
		return "A never acquired the lock", false
	case s.pause == nil:
		return "the pause of A was never confirmed", false
	case s.expired == nil:
		return "the lock service was never seen to let go of A's lease while A was paused", false
	case s.bGrant == nil:
		return "B never acquired the lock while A was paused", false
	case s.resume == nil:
		return "the end of A's pause was never confirmed", false
	case end(s.expired) > s.resume.Invoke.Seq:
		return "A's lease ended only after A was resumed", false
	}
	return "", true
}

// danger: A came back with a stale token and tried to use it. missing names the
// first link without which a refusal would prove nothing.
func (s fiveSteps) danger() (missing string, ok bool) {
	if s.aGrant != nil && !accepted(s.aFirst) {
		return "A's write before the pause was not accepted, so a later refusal may have another cause", false
	}
	if missing, ok := s.outlived(); !ok {
		// Without B's write the end of the pause was not looked for.
		if s.bGrant != nil && s.bWrite == nil {
			return "B never wrote while A was paused", false
		}
		return missing, false
	}
	switch {
	case s.bWrite.Done == nil || s.bWrite.Done.Type == history.Info:
		return "B's write while A was paused has no definite outcome", false
	case s.aStale == nil:
		return "A never wrote after it was resumed", false
	case s.aStale.Done == nil || s.aStale.Done.Type == history.Info:
		return "A's stale write has no definite outcome", false
	}
	return "", true
}

// effect is what the resource did with the stale write.
type effect int

const (
	unclear   effect = iota // a link is missing
	fenced                  // B accepted, A refused
	lockedOut               // B refused, A refused
	inverted                // B refused, A accepted
	harmed                  // B accepted, A accepted
)

// effect needs the whole chain for what is good, and only the writes for what is
// bad: an accepted stale write is harm whether or not the pause was confirmed.
func (s fiveSteps) effect() effect {
	switch {
	case accepted(s.bWrite) && accepted(s.aStale):
		return harmed
	case rejected(s.bWrite) && accepted(s.aStale):
		return inverted
	}
	if _, ok := s.danger(); !ok {
		return unclear
	}
	switch {
	case accepted(s.bWrite) && rejected(s.aStale):
		return fenced
	case rejected(s.bWrite) && rejected(s.aStale):
		return lockedOut
	}
	return unclear
}

// timeline cites every link that exists; staleNote comments on A's last write.
func (s fiveSteps) timeline(staleNote string) []Evidence {
	var out []Evidence
	out = append(out, s.cite(s.aGrant, "")...)
	out = append(out, s.cite(s.aFirst, "")...)
	out = append(out, s.cite(s.pause, "")...)
	out = append(out, s.cite(s.expired, "A's lease is over")...)
	out = append(out, s.cite(s.bGrant, "")...)
	out = append(out, s.cite(s.bWrite, "")...)
	out = append(out, s.cite(s.resume, "")...)
	return append(out, s.cite(s.aStale, staleNote)...)
}

// noticed returns the first event after B's grant that shows that A knows by its
// own doing, and not by a refusal of service or resource; nil if there is none.
func (s fiveSteps) noticed() *history.Event {
	for i, e := range s.events {
		if e.Actor != "a" || e.Seq <= end(s.bGrant) {
			continue
		}
		if e.Op == history.OpLost || e.Op == history.OpStatus && e.Type == history.OK && e.Holding != nil && !*e.Holding {
			return &s.events[i]
		}
	}
	return nil
}

// overlap is how long A believed that it held while B held. open: A did not notice
// by itself: the record ends, the script has it release the lock, or a refusal
// tells it. Without that it would have gone on, so the true time is longer.
func (s fiveSteps) overlap() (d time.Duration, open bool) {
	for _, o := range history.Belief(s.events) {
		if o.Believer != "a" || o.Holder != "b" || o.Duration() < d {
			continue
		}
		d, open = o.Duration(), o.Open || s.noticed() == nil
	}
	return d, open
}

// BeliefOverlap is the longest time in the run during which a paused holder
// believed that it held the lock while another client held it. open: it was still
// believing when the trial ended, so the true time is longer. ok is false if no
// trial came that far.
func BeliefOverlap(run record.Run) (d time.Duration, open, ok bool) {
	for _, s := range allFiveSteps(run) {
		if s.resume == nil {
			continue
		}
		if have, unfinished := s.overlap(); have > d || !ok {
			d, open, ok = have, unfinished, true
		}
	}
	return d, open, ok
}
