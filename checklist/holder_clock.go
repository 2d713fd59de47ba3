package checklist

import (
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// holderClock reads a trial in which A's own clock jumped forward while it held, and
// back before it was paused past its lease.
func holderClock(run record.Run, t trial) clockTrial {
	ofClock, ofPause := faultOn("clock", "a"), faultOn("pause", "a")
	grant := t.first(0, "a", history.OpAcquire, granted)
	forward := t.first(end(grant), "agent", history.OpInject, ok, ofClock)
	if grant == nil || forward == nil {
		return clockTrial{missing: "A's clock was never confirmed to be wrong while it held"}
	}
	evidence := append(t.cite(grant, ""), t.cite(forward, "its clock jumps ahead")...)
	believes := t.first(end(forward), "a", history.OpStatus, ok)
	held := t.first(end(forward), "a", history.OpObserve, ok)
	if believes == nil || held == nil || held.Done.Holder == nil {
		return clockTrial{missing: "A was not asked whether it holds the lock when its clock had jumped ahead"}
	}
	if h := believes.Done.Holding; h != nil && !*h && held.Done.Holder.Held {
		return clockTrial{
			bad:      "A gave up a lease that was running when its clock jumped ahead",
			evidence: append(append(evidence, t.cite(believes, "")...), t.cite(held, "")...),
		}
	}
	back := t.first(end(held), "agent", history.OpInject, ok, ofClock)
	b := t.first(end(back), "b", history.OpAcquire, granted)
	resumed := t.first(end(b), "agent", history.OpRevert, ok, ofPause)
	if back == nil || b == nil || resumed == nil {
		return clockTrial{missing: "A was not paused past its lease while its clock was behind"}
	}
	evidence = append(append(append(append(evidence, t.cite(believes, "")...), t.cite(back, "its clock jumps back")...), t.cite(b, "")...), t.cite(resumed, "")...)
	if own := t.noticedAfter(resumed); own != nil {
		return clockTrial{
			shown:    "A's clock jumped ahead and back, and it noticed the end of its lease all the same",
			evidence: append(evidence, t.quote(*own, "")...),
		}
	}
	// It went on believing. Only if it does notice with a right clock is that the clock's.
	switch noticed, tried := noticesWithRightClock(run); {
	case !run.Manifest.Subject.Can(observeLoss) || tried && !noticed:
		return clockTrial{
			shown:    "A's clock jumped ahead and back; A notices the end of its lease by no clock at all (see notices_loss)",
			evidence: evidence,
		}
	case noticed:
		return clockTrial{
			bad:      "A believed in a lease that was over, because its clock had jumped back; with a right clock it notices",
			evidence: append(evidence, t.lastBelief()...),
		}
	}
	return clockTrial{missing: "A did not notice the end of its lease while its clock was behind; whether it does with a right one needs " + pauseHolder}
}

// noticedAfter is the event by which A showed that it knows, after it was resumed.
func (t trial) noticedAfter(resumed *history.Call) *history.Event {
	for i, e := range t.events {
		if e.Actor != "a" || e.Seq <= resumed.Invoke.Seq {
			continue
		}
		if e.Op == history.OpLost || e.Op == history.OpStatus && e.Type == history.OK && e.Holding != nil && !*e.Holding {
			return &t.events[i]
		}
	}
	return nil
}

// lastBelief cites A's last word that it holds the lock.
func (t trial) lastBelief() (out []Evidence) {
	for _, e := range t.events {
		if e.Actor == "a" && e.Op == history.OpStatus && e.Type == history.OK && e.Holding != nil && *e.Holding {
			out = t.quote(e, "B holds it")
		}
	}
	return out
}

// noticesWithRightClock: what pause-holder-past-ttl, the same without a wrong clock, has
// shown of the client.
func noticesWithRightClock(run record.Run) (noticed, tried bool) {
	for _, s := range allFiveSteps(run) {
		if _, ok := s.outlived(); ok {
			tried = true
			noticed = noticed || s.noticed() != nil
		}
	}
	return noticed, tried
}
