package swimlane

import (
	"cmp"
	"slices"

	"github.com/lockaudit/lockaudit/history"
)

// read turns events into moments, in the order of the clock.
func (s *scene) read() {
	stale := map[int]bool{}
	for _, w := range history.StaleWrites(s.events) {
		stale[w.Write.Seq] = true
	}
	for _, c := range history.Calls(s.events) {
		if m, ok := s.call(c, stale); ok {
			s.moments = append(s.moments, m)
		}
	}
	for _, e := range s.events {
		if m, ok := s.notice(e); ok {
			s.moments = append(s.moments, m)
		}
	}
	for _, h := range s.holds {
		if at := s.lane(h.Actor); h.Ended == 0 && h.To != history.Forever && h.Kind == history.Certain && at >= 0 {
			s.moments = append(s.moments, Moment{
				At: h.To, Called: h.To, Kind: Expiry, From: at, To: at,
				Label: "lease over", Who: clientName(h.Actor), Text: "the lease as last confirmed is over",
			})
		}
	}
	slices.SortStableFunc(s.moments, func(x, y Moment) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Seq, y.Seq))
	})
	// What lies behind the last event is not known to have come about.
	if n := len(s.events); n > 0 {
		last := s.events[n-1].At
		s.moments = slices.DeleteFunc(s.moments, func(m Moment) bool { return m.Kind == Expiry && m.At > last })
	}
}

// call tells one call; ok is false for what no lane shows.
func (s *scene) call(c history.Call, stale map[int]bool) (m Moment, ok bool) {
	e := c.Invoke
	if c.Done != nil {
		e = *c.Done
	}
	m = Moment{Seq: e.Seq, At: e.At, Called: c.Invoke.At, Kind: kindOf(c), From: s.lane(e.Actor), Who: clientName(e.Actor)}
	m.To = m.From
	switch e.Op {
	case history.OpAcquire, history.OpRenew, history.OpRelease:
		m.To = s.of(serviceLane)
	case history.OpObserve:
		m.To = s.of(serviceLane)
		m.From = m.To
	case history.OpWrite, history.OpRead:
		m.To = s.of(resourceLane)
	case history.OpInject, history.OpRevert:
		if c.Invoke.Fault == nil {
			return m, false
		}
		hit := s.hit(c.Invoke.Fault)
		if len(hit) == 0 {
			return m, false
		}
		m.From, m.To, m.Who = hit[0], hit[0], "agent"
		if m.Kind == Good {
			m.Kind = Fault
		}
	case history.OpKill:
		if m.Kind == Good {
			m.Kind = Fault
		}
	case history.OpStatus:
		m.Kind = Notice
	default:
		return m, false
	}
	m.Label, m.Text = sayCall(c)
	if stale[m.Seq] {
		m.Kind, m.Label, m.Text = Stale, m.Label+": stale", m.Text+": stale, a newer holder was there already"
	}
	return m, m.From >= 0 && m.To >= 0
}

func kindOf(c history.Call) Kind {
	switch c.Type() {
	case history.OK:
		return Good
	case history.Fail:
		return Refused
	default:
		return Unknown
	}
}

// notice tells what no call answers: renewals are left out, their effect is the bar.
func (s *scene) notice(e history.Event) (Moment, bool) {
	at := s.lane(e.Actor)
	if at < 0 || e.Type == history.Invoke || e.Call != 0 {
		return Moment{}, false
	}
	m := Moment{Seq: e.Seq, At: e.At, Called: e.At, Kind: Notice, From: at, To: at, Who: clientName(e.Actor)}
	switch e.Op {
	case history.OpLost:
		m.Label, m.Text = "notices", "notices by itself that it no longer holds the lock"
	case history.OpStart:
		m.Label, m.Text = "starts", "is started"
	case history.OpExit:
		m.Label, m.Text = "ends", "ends by itself"
	default:
		return m, false
	}
	return m, true
}
