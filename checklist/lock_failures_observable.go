package checklist

import (
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func lockFailuresObservable() Item {
	return Item{
		ID:       "lock_failures_observable",
		Question: "are lock acquisition failures observable and logged?",
		Why:      "A job that silently does not run because it did not get the lock looks exactly like one that had nothing to do.",
		Severity: Major,
		Probes:   []string{contend},
		Fix: map[string]string{
			"": "Count failed and timed-out acquisitions in a metric, log each with the key and the holder, and name both under signals in the plan. Client libraries for Redis ship no lock metrics: the application must have its own.",
		},
		Judge: judgeObservable,
	}
}

// judgeObservable: the client must be told definitely. Whether an operator is told
// needs metrics or a log to look into, which no probe reads yet.
func judgeObservable(run record.Run) Finding {
	all := trials(run, contend)
	f := Finding{Trials: Trials{Of: len(all)}, Summary: "B never tried to acquire while A held the lock"}
	for _, t := range all {
		grant := t.first(0, "a", history.OpAcquire, granted)
		if grant == nil {
			continue
		}
		release := t.first(end(grant), "a", history.OpRelease)
		whileHeld := func(c history.Call) bool { return release == nil || c.Invoke.Seq < release.Invoke.Seq }
		tried := t.first(end(grant), "b", history.OpAcquire, whileHeld)
		told := t.first(end(grant), "b", history.OpAcquire, whileHeld, refused)
		switch {
		case tried == nil:
		case told == nil && !accepted(tried):
			if f.Outcome != Fail {
				f.Trials.Shown = 0
			}
			f.Outcome, f.Summary = Fail, "B did not get the lock and was never told so definitely"
			f.Evidence = append(t.cite(grant, ""), t.cite(tried, "A holds the lock")...)
			f.Trials.Shown++
		case told != nil && f.Outcome != Fail:
			f.Summary = "the client was told definitely; the plan names no metrics or log to look for it"
			if run.Manifest.Subject.Signals {
				f.Summary = "the client was told definitely; the metrics and log that the plan names were not read"
			}
			f.Evidence = append(t.cite(grant, ""), t.cite(told, "A holds the lock")...)
			f.Trials.Shown++
		}
	}
	return f
}
