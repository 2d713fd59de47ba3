package checklist

import (
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/record"
)

// Waiver is a failure's acceptance: by whom, why, and until when. It changes neither
// outcome nor letter, because the danger is what it was; it only says that somebody
// knows, so that a pipeline need not stop for it.
type Waiver struct {
	Owner  string `json:"owner"`
	Reason string `json:"reason"`
	Until  string `json:"until"` // the last day on which it holds, in UTC
	// Expired: it ended before the run began, and counts for nothing.
	Expired bool `json:"expired,omitempty"`
}

// Waived reports whether a failure or warning is accepted. What passes needs no waiver,
// and what was not shown cannot be accepted: nobody knows what it would be.
func (f Finding) Waived() bool {
	return (f.Outcome == Fail || f.Outcome == Warn) && f.Waiver != nil && !f.Waiver.Expired
}

// waiverOf finds the plan's waiver of an item. It is judged by the day on which the run
// began, not by today's, so that a record always says the same.
func waiverOf(item string, m record.Manifest) *Waiver {
	for _, w := range m.Subject.Waivers {
		if w.Item == item {
			return &Waiver{Owner: w.Owner, Reason: w.Reason, Until: w.Until, Expired: expired(w.Until, m.Started)}
		}
	}
	return nil
}

// expired: the day is over, or is none. A waiver whose end cannot be read has none.
func expired(until string, at time.Time) bool {
	day, err := time.Parse(time.DateOnly, until)
	return err != nil || !at.Before(day.AddDate(0, 0, 1))
}

// WaiverWords says what a finding's waiver comes to; empty where it has none.
func (f Finding) WaiverWords() string {
	w := f.Waiver
	switch {
	case w == nil:
		return ""
	case w.Expired:
		return fmt.Sprintf("the waiver by %s ended on %s and counts for nothing: %s", w.Owner, w.Until, w.Reason)
	case f.Waived():
		return fmt.Sprintf("waived by %s until %s: %s", w.Owner, w.Until, w.Reason)
	case f.Outcome == Pass || f.Outcome == NotApplicable:
		return fmt.Sprintf("the waiver by %s until %s is not needed", w.Owner, w.Until)
	}
	return fmt.Sprintf("the waiver by %s until %s covers nothing: only what is seen to fail can be waived", w.Owner, w.Until)
}
