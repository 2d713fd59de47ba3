package checklist

import (
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func operationIdempotent() Item {
	return Item{
		ID:       "operation_idempotent",
		Question: "is the protected operation idempotent?",
		Why:      "What may safely happen twice survives every failure of the lock.",
		Severity: Major,
		Probes:   []string{replayOperation},
		Fix:      map[string]string{"": "Give each operation an id, store it with the effect in one transaction, and answer an id that is already there with the first outcome."},
		Judge:    judgeIdempotent,
	}
}

func idempotencyCouldReplaceLock() Item {
	return Item{
		ID:       "idempotency_could_replace_lock",
		Question: "could idempotency replace the lock?",
		Why:      "The lock that is not needed does not fail.",
		Severity: Advice,
		Probes:   []string{replayOperation},
		Fix:      map[string]string{"": "If the operation can be made idempotent, do that, and keep the lock only to save work."},
		Judge:    judgeReplacement,
	}
}

// Cases of replay-operation.
const (
	caseOperation = "operation"
	caseReplay    = "replay"
	caseLate      = "late-replay"
	caseOther     = "other"
)

// replayed is what one trial showed of an operation that was sent three times: the
// repetitions and the row's number after each write. A call that never came is nil.
type replayed struct {
	trial
	operation, again, other, late *history.Call
	// after each of them: the row as it was read
	first, second, third, last *history.Call
}

func readReplay(t trial) replayed {
	of := func(kase string) func(history.Call) bool {
		return func(c history.Call) bool { return c.Invoke.Case == kase }
	}
	r := replayed{trial: t}
	r.operation = t.first(0, "a", history.OpWrite, of(caseOperation))
	r.again = t.first(end(r.operation), "a", history.OpWrite, of(caseReplay))
	r.other = t.first(end(r.again), "b", history.OpWrite, of(caseOther))
	r.late = t.first(end(r.other), "a", history.OpWrite, of(caseLate))
	r.first = r.readAfter(r.operation, r.again)
	r.second = r.readAfter(r.again, r.other)
	r.third = r.readAfter(r.other, r.late)
	r.last = r.readAfter(r.late, nil)
	return r
}

// readAfter is the first read between two writes.
func (r replayed) readAfter(write, next *history.Call) *history.Call {
	if write == nil || write.Done == nil {
		return nil
	}
	for i, c := range r.calls {
		if c.Invoke.Op == history.OpRead && ok(c) && c.Invoke.Seq > end(write) && (next == nil || c.Invoke.Seq < next.Invoke.Seq) {
			return &r.calls[i]
		}
	}
	return nil
}

// rowNumber is the resource's count of accepted writes, as read; 0 if it has none.
func rowNumber(c *history.Call) uint64 {
	if !accepted(c) || c.Done.Write == nil {
		return 0
	}
	return c.Done.Write.Seq
}

// repetition is how the resource took one repetition.
type repetition int

const (
	notShown   repetition = iota
	recognised            // answered as done, and nothing changed
	turnedAway            // refused, and nothing changed
	reapplied             // it had its effect again
)

// took compares the row before and after a repetition.
func took(repeat, before, after *history.Call) repetition {
	switch {
	case repeat == nil || repeat.Done == nil || rowNumber(before) == 0 || rowNumber(after) == 0:
		return notShown
	case rowNumber(after) > rowNumber(before):
		return reapplied
	case accepted(repeat):
		return recognised
	case rejected(repeat):
		return turnedAway
	}
	return notShown
}

// atOnce needs the operation to have been accepted: only then is there something
// to repeat.
func (r replayed) atOnce() repetition {
	if !accepted(r.operation) {
		return notShown
	}
	return took(r.again, r.first, r.second)
}

// afterOther needs B's write to have been accepted: without it the late repetition
// comes late after nothing.
func (r replayed) afterOther() repetition {
	if !accepted(r.other) {
		return notShown
	}
	return took(r.late, r.third, r.last)
}

func (r replayed) missing() string {
	switch {
	case !accepted(r.operation):
		return "A's operation was not accepted"
	case accepted(r.first) && rowNumber(r.first) == 0:
		return "the resource does not number its writes, so a second effect cannot be told from the first"
	case !r.complete:
		return "the trial was not carried to its end"
	}
	return "the repetition has no definite outcome"
}

func (r replayed) evidence() []Evidence {
	var out []Evidence
	for _, c := range []struct {
		call *history.Call
		note string
	}{
		{r.operation, "the operation"}, {r.first, ""}, {r.again, "the same operation again"}, {r.second, ""},
		{r.other, "somebody else's"}, {r.third, ""}, {r.late, "the first operation again, late"}, {r.last, ""},
	} {
		out = append(out, r.cite(c.call, c.note)...)
	}
	return out
}

// judgeIdempotent reports the worst trial; a repetition that the fencing token
// stopped had no second effect, and that is what is asked.
func judgeIdempotent(run record.Run) Finding {
	all := trials(run, replayOperation)
	f := Finding{Trials: Trials{Of: len(all)}}
	for _, t := range all {
		r := readReplay(t)
		once, late := r.atOnce(), r.afterOther()
		switch {
		case once == reapplied || late == reapplied:
			if f.Outcome != Fail {
				f.Outcome, f.Evidence, f.Trials.Shown = Fail, r.evidence(), 0
				f.Summary = "the same operation, sent twice, was applied twice"
				if once != reapplied {
					f.Summary = "the same operation, sent again after somebody else's, was applied again"
				}
			}
			f.Trials.Shown++
		case f.Outcome == Fail:
		case once == notShown || !r.complete:
			if f.Outcome != Pass {
				f.Summary, f.Evidence = r.missing(), r.evidence()
			}
		default:
			f.Outcome, f.Evidence = Pass, r.evidence()
			f.Summary = "the same operation, sent twice, was applied once"
			if late != notShown {
				f.Summary += ", also when it came again after somebody else's"
			}
			f.Trials.Shown++
		}
	}
	return f
}

// judgeReplacement: only what the resource recognises by the operation's id needs
// no lock; what the token stops needs the lock that hands out the token.
func judgeReplacement(run record.Run) Finding {
	all := trials(run, replayOperation)
	f := Finding{Trials: Trials{Of: len(all)}}
	for _, t := range all {
		r := readReplay(t)
		once, late := r.atOnce(), r.afterOther()
		no := ""
		switch {
		case once == reapplied || late == reapplied:
			no = "not as it is: a repeated operation is applied again"
		case once == turnedAway || late == turnedAway:
			no = "not as it is: it is the lock's token that stops a repeated operation"
		}
		switch {
		case no != "":
			if f.Outcome != Warn {
				f.Outcome, f.Summary, f.Evidence, f.Trials.Shown = Warn, no, r.evidence(), 0
			}
			f.Trials.Shown++
		case f.Outcome == Warn:
		case once == recognised && late == recognised && r.complete:
			f.Outcome, f.Evidence = Pass, r.evidence()
			f.Summary = "as far as repetition goes, yes: the resource recognises an operation by its id, with or without the lock, at once and late"
			f.Trials.Shown++
		case f.Outcome != Pass:
			f.Summary, f.Evidence = r.missing(), r.evidence()
		}
	}
	return f
}
