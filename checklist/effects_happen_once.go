package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func effectsHappenOnce() Item {
	return Item{
		ID:       "effects_happen_once",
		Question: "is there no double execution and no lost update?",
		Why:      "This is what the lock is for: the job that runs twice, the stock that is decremented once for two orders.",
		Severity: Critical,
		Probes:   []string{doubleExecution, lostUpdate},
		Fix: map[string]string{
			"etcd":    "Let the resource refuse a token below the highest it has accepted, and make read-modify-write one conditional statement; a job that must run once records its id with its effect.",
			"redlock": "Let the resource refuse older tokens, which have to come from elsewhere (Redlock has none), and make read-modify-write one conditional statement.",
			"redis":   "A store on each side of a partition is two locks: grant by majority (etcd, ZooKeeper, Consul), let the resource refuse older tokens, and make read-modify-write one conditional statement.",
			"":        "Enforce fencing tokens at the resource, and make read-modify-write one conditional statement.",
		},
		Judge: judgeEffects,
	}
}

// Cases of the writes that are counted.
const (
	caseIncrement = "increment"
	caseExecution = "execution"
)

// effects is what the trials of one probe showed.
type effects struct {
	harmed, shown, of int
	summary, missing  string
	evidence          []Evidence
}

// judgeEffects fails on one harm, and passes only if both kinds of it were tried.
func judgeEffects(run record.Run) Finding {
	job, counter := executions(run), updates(run)
	f := Finding{Trials: Trials{Of: job.of + counter.of}}
	for _, e := range []effects{job, counter} {
		if e.harmed > 0 {
			return Finding{
				Outcome: Fail, Harm: true, Summary: e.summary, Evidence: e.evidence,
				Trials: Trials{Shown: e.harmed, Of: e.of},
			}
		}
		f.Trials.Shown += e.shown
		f.Evidence = append(f.Evidence, e.evidence...)
	}
	switch {
	case job.shown > 0 && counter.shown > 0:
		f.Outcome, f.Summary = Pass, job.summary+"; "+counter.summary
	case job.shown > 0:
		f.Summary = job.summary + "; lost update not tested: " + counter.missing
	case counter.shown > 0:
		f.Summary = counter.summary + "; double execution not tested: " + job.missing
	default:
		f.Summary = fmt.Sprintf("double execution not tested: %s; lost update not tested: %s", job.missing, counter.missing)
	}
	return f
}

// executions judges double-execution: how often did the resource see the job?
func executions(run record.Run) effects {
	all := trials(run, doubleExecution)
	out := effects{of: len(all), missing: notRun(run, doubleExecution)}
	for _, t := range all {
		runs, evidence := t.executions()
		last, unbroken := t.lastInject(), t.broken()
		switch {
		case runs > 1:
			if out.harmed++; out.harmed == 1 {
				out.evidence = evidence
			}
			out.summary = "the job ran twice, once on each side of the partition"
		case unbroken != "":
			out.missing = unbroken
		case t.first(last, "a", history.OpAcquire) == nil || t.first(last, "b", history.OpAcquire) == nil:
			out.missing = "the job was not due on both sides"
		case runs == 0:
			out.missing = "the job ran on neither side"
		case !t.complete:
			out.missing = "the trial was not carried to its end"
		case out.harmed == 0:
			out.shown++
			out.summary, out.evidence = "the job was due on both sides of a partition and ran once", evidence
		}
	}
	return out
}

// executions counts the effects of the job at the resource: accepted writes, and
// where the resource numbers them, different numbers, since one that recognises
// an operation answers its repetition with the first one's number.
func (t trial) executions() (n int, evidence []Evidence) {
	last, seen := t.lastInject(), map[uint64]bool{}
	for _, actor := range []string{"a", "b"} {
		tried := t.first(last, actor, history.OpAcquire, granted)
		if tried == nil {
			tried = t.first(last, actor, history.OpAcquire)
		}
		evidence = append(evidence, t.cite(tried, "")...)
	}
	for i, c := range t.calls {
		if c.Invoke.Op != history.OpWrite || c.Invoke.Case != caseExecution {
			continue
		}
		evidence = append(evidence, t.cite(&t.calls[i], "the job")...)
		_, seq := c.Written()
		if !ok(c) || seq > 0 && seen[seq] {
			continue
		}
		seen[seq] = true
		n++
	}
	return n, evidence
}

// updates judges lost-update: A read, B incremented, A wrote what it had read plus
// one.
func updates(run record.Run) effects {
	all := trials(run, lostUpdate)
	out := effects{of: len(all), missing: notRun(run, lostUpdate)}
	for _, t := range all {
		grant := t.first(0, "a", history.OpAcquire, granted)
		read := t.first(end(grant), "a", history.OpRead, ok)
		pause := t.first(end(read), "agent", history.OpInject, ok, faultOn("pause", "a"))
		other := t.first(end(read), "b", history.OpWrite, increments)
		late := t.first(end(other), "a", history.OpWrite, increments)
		resume := t.first(end(pause), "agent", history.OpRevert, ok, faultOn("pause", "a"))
		final := t.first(end(late), "b", history.OpRead, ok)
		evidence := append(t.cite(read, "what A will increment"), t.cite(pause, "")...)
		evidence = append(evidence, t.cite(other, "B's increment")...)
		evidence = append(evidence, t.cite(resume, "")...)
		evidence = append(evidence, t.cite(late, "A's increment of what it had read before")...)
		evidence = append(evidence, t.cite(final, "")...)
		switch {
		case read == nil || other == nil:
			out.missing = "the counter was not read by A and then incremented by B"
		case !accepted(other):
			out.missing = "B's increment was not accepted, so it could not be lost"
		case late == nil:
			out.missing = "A never wrote what it had read"
		case accepted(late):
			if out.harmed++; out.harmed == 1 {
				out.evidence = evidence
			}
			out.summary = "B's increment was lost: the resource accepted A's write, which was based on the value before it"
		case !rejected(late):
			out.missing = "A's late write has no definite outcome"
		case pause == nil || resume == nil:
			out.missing = "the pause of A was never confirmed"
		case final == nil || rowValue(final.Done) != rowValue(&other.Invoke):
			out.missing = "the counter was not read at the end as B had left it"
		case !t.complete:
			out.missing = "the trial was not carried to its end"
		case out.harmed == 0:
			out.shown++
			out.summary, out.evidence = "A's late write was refused and B's increment is there", evidence
		}
	}
	return out
}

func increments(c history.Call) bool { return c.Invoke.Case == caseIncrement }

func rowValue(e *history.Event) string {
	if e == nil || e.Write == nil {
		return ""
	}
	return e.Write.Value
}
