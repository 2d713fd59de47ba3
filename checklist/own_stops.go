package checklist

import (
	"fmt"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// stops are what stopped the application's process alone, and not its node.
type stops struct {
	// longest of what its runtime tells of; told: it tells, if only that there was none.
	longest time.Duration
	told    bool
	source  string // of the longest
	// throttled is the longest stretch for which its CPU quota was used up. On several
	// CPUs at once it is their sum, so that it can worry and not convict.
	throttled time.Duration
	evidence  []Evidence
}

func ownStops(run record.Run) stops {
	var out stops
	for _, e := range run.Histories[measurePauses] {
		s := e.Sample
		if e.Op != history.OpMeasure || e.Type != history.OK || s == nil || s.Unit != history.Nanoseconds {
			continue
		}
		switch s.Name {
		case history.SampleStop:
			out.told = out.told || s.Count > 0 || s.Over > 0
			if d := time.Duration(s.Max); s.Count > 0 && d > out.longest {
				out.longest, out.source = d, s.Source
			}
		case history.SampleThrottle:
			out.throttled = max(out.throttled, time.Duration(s.Max))
			if s.Count == 0 {
				continue // nothing to show
			}
		default:
			continue
		}
		out.evidence = append(out.evidence, trial{probe: measurePauses, number: e.Trial}.quote(e, "")...)
	}
	return out
}

// unseen is what even a pass does not say.
func (s stops) unseen() string {
	if s.told {
		return "a rare pause does not show in so short a sample"
	}
	return "a rare pause and one inside a process (garbage collection) do not show in so short a sample"
}

// words say what was seen of the process; "" if nothing was.
func (s stops) words() string {
	var out []string
	switch {
	case s.longest > 0:
		out = append(out, fmt.Sprintf("longest stop of the process itself %s (%s)", fine(s.longest), s.source))
	case s.told:
		out = append(out, "the process itself was not stopped meanwhile")
	}
	if s.throttled > 0 {
		out = append(out, fmt.Sprintf("its CPU quota was used up for %s in one go, summed over the CPUs", fine(s.throttled)))
	}
	return strings.Join(out, ", ")
}
