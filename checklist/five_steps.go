package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// fiveSteps is what one trial of pause-holder-past-ttl recorded: acquire on A,
// pause A, expire and acquire on B, resume A, A writes with its stale token; or of
// partition-holder-past-ttl, where A is cut off instead and writes while it is. A
// call that never came is nil.
type fiveSteps struct {
	trial
	// observed: A and B are instances of the application, which does what it does.
	observed                                                       bool
	fault                                                          disturbance
	aGrant, aFirst, pause, expired, bGrant, bWrite, resume, aStale *history.Call
}

// disturbance is what befalls A, with its words.
type disturbance struct{ kind, adjective, back string }

func paused() disturbance { return disturbance{"pause", "paused", "resumed"} }
func cutOff() disturbance { return disturbance{"partition", "cut off", "reconnected"} }

func allFiveSteps(run record.Run) []fiveSteps { return allSteps(run, pauseHolder, paused()) }

// bothSteps are the trials of both probes in which a holder comes too late.
func bothSteps(run record.Run) []fiveSteps {
	return append(allFiveSteps(run), allSteps(run, cutHolder, cutOff())...)
}

func allSteps(run record.Run, probe string, d disturbance) []fiveSteps {
	var out []fiveSteps
	for _, t := range trials(run, probe) {
		out = append(out, readFiveSteps(t, d, observedApplication(run) && d == paused()))
	}
	return out
}

// readFiveSteps looks for each link after the one before it, in the order of the
// controller's clock.
func readFiveSteps(t trial, d disturbance, observed bool) fiveSteps {
	s := fiveSteps{trial: t, fault: d, observed: observed}
	ofA := faultOn(d.kind, "a")
	if s.aGrant = t.first(0, "a", history.OpAcquire, granted); s.aGrant == nil {
		return s
	}
	s.aFirst = t.first(end(s.aGrant), "a", history.OpWrite)
	s.pause = t.first(end(s.aGrant), "agent", history.OpInject, ok, ofA)
	if s.pause == nil {
		return s
	}
	over := free
	if observed { // others wait for the lock, and have it before anybody sees it free
		over = another(t.first(0, "observer", history.OpObserve, taken))
	}
	s.expired = t.first(end(s.pause), "observer", history.OpObserve, over)
	if s.bGrant = t.first(end(s.pause), "b", history.OpAcquire, granted); s.bGrant == nil {
		return s
	}
	if s.bWrite = t.first(end(s.bGrant), "b", history.OpWrite); s.bWrite == nil && !observed {
		return s
	}
	if d == cutOff() {
		// It may write at any time, and does so twice: cut off, and again after.
		s.aStale = t.first(end(s.bWrite), "a", history.OpWrite, ok)
		if s.aStale == nil {
			s.aStale = t.first(end(s.bWrite), "a", history.OpWrite)
		}
	}
	if s.resume = t.first(max(end(s.bGrant), end(s.bWrite)), "agent", history.OpRevert, ok, ofA); s.resume == nil {
		return s
	}
	if d == paused() {
		s.aStale = t.first(end(s.resume), "a", history.OpWrite)
	}
	return s
}

// faultOn is the condition that a call is about a fault of the kind on the target.
func faultOn(kind, target string) func(history.Call) bool {
	return func(c history.Call) bool {
		f := c.Invoke.Fault
		return f != nil && f.Kind == kind && f.Target == target
	}
}

func free(c history.Call) bool {
	return ok(c) && c.Done.Holder != nil && !c.Done.Holder.Held
}

// taken is the opposite: a look that failed is neither.
func taken(c history.Call) bool {
	return ok(c) && c.Done.Holder != nil && c.Done.Holder.Held
}

// outlived: the fault provably outlasted the lease, and B got the lock meanwhile.
// missing names the first link without which that is not shown.
func (s fiveSteps) outlived() (missing string, ok bool) {
	d := s.fault
	switch {
	case s.aGrant == nil:
		return "A never acquired the lock", false
	case s.pause == nil:
		return fmt.Sprintf("the %s of A was never confirmed", d.kind), false
	case s.expired == nil:
		return "the lock service was never seen to let go of A's lease while A was " + d.adjective, false
	case s.bGrant == nil:
		return "B never acquired the lock while A was " + d.adjective, false
	case s.resume == nil:
		return fmt.Sprintf("the end of A's %s was never confirmed", d.kind), false
	case end(s.expired) > s.resume.Invoke.Seq:
		return "A's lease ended only after A was " + d.back, false
	case s.early():
		return "the lock service said that nobody held the lock while A's lease was still running", false
	case d == cutOff() && dropped(s.resume) == 0:
		return "the partition of A lost no packet", false
	}
	return "", true
}

// early: the key was said to be free, or somewhere else was looked at, before A's
// lease can have been over. A tenth is allowed for a server's clock.
func (s fiveSteps) early() bool {
	if !accepted(s.aGrant) || s.expired == nil || s.aGrant.Done.Grant == nil {
		return false
	}
	return s.expired.Done.At < s.aGrant.Invoke.At+s.aGrant.Done.Grant.TTL*9/10
}

// dropped counts the packets that a partition lost, as its end reports.
func dropped(revert *history.Call) int {
	if !accepted(revert) || revert.Done.Fault == nil {
		return 0
	}
	return revert.Done.Fault.Dropped
}

// danger: A had a stale token and tried to use it. missing names the first link
// without which a refusal would prove nothing.
func (s fiveSteps) danger() (missing string, ok bool) {
	if s.aGrant != nil && !accepted(s.aFirst) {
		return fmt.Sprintf("A's write before the %s was not accepted, so a later refusal may have another cause", s.fault.kind), false
	}
	if missing, ok := s.outlived(); !ok {
		// Without B's write the end of the fault was not looked for.
		if s.bGrant != nil && s.bWrite == nil {
			return "B never wrote while A was " + s.fault.adjective, false
		}
		return missing, false
	}
	switch {
	case s.bWrite == nil:
		return "B was not seen to write while A was " + s.fault.adjective, false
	case s.bWrite.Done == nil || s.bWrite.Done.Type == history.Info:
		return fmt.Sprintf("B's write while A was %s has no definite outcome", s.fault.adjective), false
	case s.aStale == nil:
		return "A never wrote after it was " + s.fault.back, false
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
	note := "A's lease is over"
	if s.early() {
		note = "A's lease is not over"
	}
	out = append(out, s.cite(s.expired, note)...)
	out = append(out, s.cite(s.bGrant, "")...)
	out = append(out, s.cite(s.bWrite, "")...)
	if s.fault == cutOff() { // A is not stopped, and writes before the end of the fault
		return append(append(out, s.cite(s.aStale, staleNote)...), s.cite(s.resume, "")...)
	}
	out = append(out, s.cite(s.resume, "")...)
	return append(out, s.cite(s.aStale, staleNote)...)
}
