// Package swimlane lays out a stretch of a history as a picture: a lane for each
// client, for the lock service and for the resource, with holds as bars, faults as
// shades and calls as arrows. It computes; a template draws.
//
// There are two layouts of the same moments. Wide has time from left to right, as
// the figures of the literature have it. Tall has time going down with one line of
// text per moment, for narrow screens. Neither axis is to scale: between two
// moments lies what the labels need, and a little more for a longer wait.
package swimlane

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// maxMoments bounds one picture: nobody reads more, and reports stay small.
const maxMoments = 40

// Options say what to draw.
type Options struct {
	// OwnerCheck and SessionBound as in history.Options.
	OwnerCheck, SessionBound bool
	// From and To cut the picture to the moments between these events, both
	// included; 0: from the start, to the end.
	From, To int
}

// Diagram is a picture of one trial, in both layouts.
type Diagram struct {
	Wide Layout
	Tall Layout
	// Steps are the probe's own words for the stages that the picture shows.
	Steps []string
	// Moments are everything that happened, in order and in words.
	Moments []Moment
	// Left is how many moments in the middle were left out.
	Left int
}

// Empty reports whether there is nothing to draw.
func (d Diagram) Empty() bool { return len(d.Moments) == 0 }

// New lays out the events of one trial.
func New(events []history.Event, o Options) Diagram {
	s := scene{events: events, holds: history.Holds(events, history.Options{OwnerCheck: o.OwnerCheck, SessionBound: o.SessionBound})}
	s.lanes = lanesOf(events)
	s.read()
	s.cut(o)
	var d Diagram
	if len(s.moments) > maxMoments {
		// The ends matter most: how it began, and what it led to.
		d.Left = len(s.moments) - maxMoments
		s.moments = slices.Delete(s.moments, maxMoments/2, maxMoments/2+d.Left)
	}
	if len(s.moments) == 0 {
		return d
	}
	s.from, s.to = s.moments[0].At, s.moments[len(s.moments)-1].At
	s.bars()
	s.shades()
	d.Moments = s.moments
	d.Steps = s.steps()
	d.Wide = s.wide()
	d.Tall = s.tall()
	return d
}

// Kind is how a moment looks.
type Kind string

// The kinds.
const (
	Good    Kind = "good"    // it happened, as it should
	Refused Kind = "refused" // it did not happen
	Unknown Kind = "unknown" // it may have happened
	Stale   Kind = "stale"   // an accepted write that came too late: harm
	Expiry  Kind = "expiry"  // a lease has run out
	Fault   Kind = "fault"   // a fault begins or ends
	Notice  Kind = "notice"  // a client says something unasked
)

// Moment is one thing that happened.
type Moment struct {
	Seq int
	// At is the outcome, Called the request; they are equal for what is no call.
	At, Called time.Duration
	Kind       Kind
	// Lane it starts from and lane it ends on, which may be the same.
	From, To int
	// Label is short, for the picture; Who and Text are for reading.
	Label, Who, Text string
}

// Time is the moment on the axis of the run.
func (m Moment) Time() string { return seconds(m.At) }

func seconds(d time.Duration) string { return fmt.Sprintf("%+.3f s", d.Seconds()) }

// scene is a picture in the making.
type scene struct {
	events   []history.Event
	holds    []history.Hold
	lanes    []lane
	moments  []Moment
	from, to time.Duration
	spans    []span
	faults   []span
}

// span is a bar or a shade: a stretch of time on one lane.
type span struct {
	lane     int
	from, to time.Duration
	kind     string
	label    string
}

// cut keeps the moments of the window.
func (s *scene) cut(o Options) {
	if o.From == 0 && o.To == 0 {
		return
	}
	from, to := time.Duration(0), history.Forever
	for _, e := range s.events {
		if e.Seq == o.From {
			from = e.At
		}
		if e.Seq == o.To {
			to = e.At
		}
	}
	s.moments = slices.DeleteFunc(s.moments, func(m Moment) bool { return m.At < from || m.At > to })
}

// steps are those that begin before the picture ends and do not end before it begins.
func (s *scene) steps() []string {
	var steps []string
	for _, e := range s.events {
		if e.Op != history.OpStep || e.At > s.to {
			continue
		}
		if e.At <= s.from {
			steps = steps[:0] // it was over, or is the one in which the picture begins
		}
		steps = append(steps, e.Step)
	}
	return steps
}
