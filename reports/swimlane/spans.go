package swimlane

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// Kinds of bars.
const (
	barHold   = "hold"   // the client certainly holds
	barBelief = "belief" // it believes so, while another holds
)

// bars are the holds, and the time in which a client believed wrongly.
func (s *scene) bars() {
	for _, h := range s.holds {
		if h.Kind != history.Certain {
			continue
		}
		s.add(&s.spans, span{lane: s.lane(h.Actor), from: h.From, to: h.To, kind: barHold, label: short(h.Token)})
	}
	for _, o := range history.Belief(s.events) {
		label := "still believes, " + Duration(o.Duration())
		if s.held(o.Believer, o.From) {
			label = "both hold, " + Duration(o.Duration())
		}
		s.add(&s.spans, span{lane: s.lane(o.Believer), from: o.From, to: o.To, kind: barBelief, label: label})
	}
}

// held: the actor certainly holds at that time, and so is not mistaken.
func (s *scene) held(actor string, at time.Duration) bool {
	return slices.ContainsFunc(s.holds, func(h history.Hold) bool {
		return h.Actor == actor && h.Kind == history.Certain && h.From <= at && at < h.To
	})
}

// shades are the faults, from when they took effect, as far as the node's clock places
// that, or else from the answer to the order, until the answer to the order to end them.
func (s *scene) shades() {
	ended := map[string]time.Duration{}
	for _, c := range history.Calls(s.events) {
		if c.Invoke.Op == history.OpRevert && c.Type() == history.OK && c.Invoke.Fault != nil {
			ended[c.Invoke.Fault.ID] = c.Done.At
		}
	}
	for _, c := range history.Calls(s.events) {
		if c.Invoke.Op != history.OpInject || c.Type() != history.OK || c.Done.Fault == nil {
			continue
		}
		f, from := c.Done.Fault, c.Done.At
		if f.Began >= c.Invoke.At && f.Began < from {
			from = f.Began
		}
		to, ok := ended[f.ID]
		label := f.Kind
		if ok {
			label += ", " + Duration(to-from)
		} else {
			to = history.Forever
		}
		for _, at := range s.hit(f) {
			s.add(&s.faults, span{lane: at, from: from, to: to, kind: "fault", label: label})
		}
	}
}

// add keeps the part of a span that lies in the picture.
func (s *scene) add(to *[]span, part span) {
	part.from, part.to = max(part.from, s.from), min(part.to, s.to)
	if part.lane >= 0 && part.from < part.to {
		*to = append(*to, part)
	}
}

// Duration is the form for people in little room.
func Duration(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d/time.Microsecond)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
