package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// Where the holder is the application itself, its late write is kept off by a cut from
// the resource. That it came is one half of a verdict; what the resource would have done
// with it is the other, and is tried on a row of the audit's own.

// observedApplication: the five steps of this run were the application's own.
func observedApplication(run record.Run) bool { return run.Manifest.Subject.Observed }

// keptOff is a trial in which A's late write could not arrive.
type keptOff struct {
	fiveSteps
	shadow, attempt               *history.Call
	canaryFirst, canaryNewer      *history.Call
	canaryStale, canaryNoToken    *history.Call
	exited                        *history.Event
	sendsTokens, refusesTokenless bool
}

// Cases of the writes to the canary row.
const (
	caseCanaryStale   = "canary-stale"
	caseCanaryMissing = "canary-missing"
)

// allKeptOff are the trials in which the application was kept off, and the others.
func allKeptOff(run record.Run) (kept []keptOff, others []fiveSteps) {
	for _, s := range bothSteps(run) {
		shadow := s.first(end(s.pause), "agent", history.OpInject, ok, faultOn("partition", "a"))
		if !s.observed || s.pause != nil && shadow == nil {
			others = append(others, s)
			continue
		}
		k := keptOff{fiveSteps: s, shadow: shadow}
		k.attempt = s.first(end(s.resume), "a", history.OpAttempt)
		k.canaryFirst = s.first(0, "canary-a", history.OpWrite)
		k.canaryNewer = s.first(0, "canary-b", history.OpWrite)
		k.canaryStale = s.first(end(k.canaryNewer), "canary-a", history.OpWrite, inCase(caseCanaryStale))
		k.canaryNoToken = s.first(end(k.canaryNewer), "canary-a", history.OpWrite, inCase(caseCanaryMissing))
		k.refusesTokenless = rejected(k.canaryNoToken)
		for i, e := range s.events {
			if e.Op == history.OpExit && e.Actor == "a" {
				k.exited = &s.events[i]
			}
			if e.Op == history.OpWrite && e.Case == caseObserved && e.Write != nil && !e.Write.Token.IsZero() {
				k.sendsTokens = true
			}
		}
		kept = append(kept, k)
	}
	return kept, others
}

// caseObserved marks a write of the application itself.
const caseObserved = "observed"

func inCase(name string) func(history.Call) bool {
	return func(c history.Call) bool { return c.Invoke.Case == name }
}

// judgeKeptOff passes only if A's late write came, and the resource refused the like of
// it although it accepts what is in order.
func judgeKeptOff(run record.Run, all []keptOff) Finding {
	f := Finding{Trials: Trials{Of: len(all)}}
	for _, k := range all {
		outcome, summary := k.verdict(run.Manifest.Subject.Resource)
		if outcome == Pass && !k.complete {
			outcome, summary = Inconclusive, "the trial was not carried to its end"
		}
		switch {
		case f.Summary == "" || outcome > f.Outcome:
			f.Outcome, f.Summary, f.Evidence, f.Trials.Shown = outcome, summary, k.timeline(), 0
		case outcome < f.Outcome:
			continue
		}
		if outcome != Inconclusive {
			f.Trials.Shown++
		}
	}
	return f
}

// httpResource is the kind whose fence, if there is one, is in the resource and not in a
// statement that its client sends.
const httpResource = "http"

func (k keptOff) verdict(resource string) (Outcome, string) {
	missing, ok := k.outlived()
	switch {
	case !ok:
		return Inconclusive, missing
	case k.attempt == nil && k.exited != nil:
		return Inconclusive, "the application ended by itself when it was resumed, and was not seen to write: nothing shows what the resource would have done"
	case k.attempt == nil:
		return Inconclusive, "A was not seen to write when it was resumed: nothing shows what the resource would have done"
	case resource != httpResource:
		return Inconclusive, fmt.Sprintf("A's late write came and was kept off; whether a resource of kind %s refuses it depends on the statement that the application sends, which only safety.allow_harm, in a lab, lets through", resource)
	case k.canaryStale == nil || k.canaryNewer == nil:
		return Inconclusive, "A's late write came and was kept off; the same was not tried on a canary row"
	case accepted(k.canaryStale) && accepted(k.canaryNewer):
		return Fail, "A's late write came and was kept off; the resource accepts a stale token after a newer one on a canary row, so it would have accepted that write"
	case !accepted(k.canaryFirst) || !accepted(k.canaryNewer):
		return Inconclusive, "A's late write came and was kept off; on the canary row the resource did not accept what is in order either, so its refusal says nothing (does the plan's lock hand out tokens as the application does? for redis: options: {fencing_counter: true})"
	case !rejected(k.canaryStale):
		return Inconclusive, "A's late write came and was kept off; the stale write to the canary row has no definite outcome"
	case !k.refusesTokenless && !k.sendsTokens:
		return Inconclusive, "A's late write came and was kept off; the resource refuses a stale token, and takes writes without any: nobody has seen that the application sends its own (a lockaudit tap would)"
	}
	return Pass, "the application's late write came, and was kept off; the resource refuses a stale token on a canary row, and the application cannot do without one"
}

func (k keptOff) timeline() []Evidence {
	out := append(k.cite(k.aGrant, ""), k.cite(k.pause, "")...)
	out = append(out, k.cite(k.shadow, "what A writes late does not arrive")...)
	out = append(out, k.cite(k.expired, "A's lease is over")...)
	out = append(out, k.cite(k.bGrant, "")...)
	out = append(out, k.cite(k.bWrite, "")...)
	out = append(out, k.cite(k.resume, "")...)
	out = append(out, k.cite(k.attempt, "")...)
	if k.exited != nil {
		out = append(out, k.quote(*k.exited, "")...)
	}
	out = append(out, k.cite(k.canaryNewer, "canary row")...)
	out = append(out, k.cite(k.canaryStale, "canary row, stale")...)
	return append(out, k.cite(k.canaryNoToken, "canary row")...)
}

// another is the condition that the lock service does not name this hold any more.
func another(than *history.Call) func(history.Call) bool {
	return func(c history.Call) bool {
		return free(c) || taken(c) && than != nil && than.Done.Holder != nil && c.Done.Holder.ID != than.Done.Holder.ID
	}
}
