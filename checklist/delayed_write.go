package checklist

import (
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// delayedWrite is what one trial of delay-write-in-flight recorded: A's write was
// sent while A held, kept back, and let go when B had written.
type delayedWrite struct {
	trial
	aGrant, hold, late, bGrant, before, bWrite, release, after *history.Call
}

func readDelayedWrite(t trial) delayedWrite {
	d := delayedWrite{trial: t}
	d.aGrant = t.first(0, "a", history.OpAcquire, granted)
	if d.hold = t.first(end(d.aGrant), "agent", history.OpInject, ok, faultOn("hold", "a")); d.hold == nil {
		return d
	}
	d.late = t.first(end(d.hold), "a", history.OpWrite)
	d.bGrant = t.first(end(d.hold), "b", history.OpAcquire, granted)
	if d.bGrant == nil {
		return d
	}
	d.bWrite = t.first(end(d.bGrant), "b", history.OpWrite)
	if d.bWrite != nil {
		d.before = t.first(end(d.bGrant), "b", history.OpRead, ok, func(c history.Call) bool { return end(&c) < d.bWrite.Invoke.Seq })
	}
	d.release = t.first(end(d.bWrite), "agent", history.OpRevert, ok, faultOn("hold", "a"))
	d.after = t.first(end(d.release), "b", history.OpRead, ok)
	return d
}

// reads reports whether a read found the late write's value.
func (d delayedWrite) reads(c *history.Call) bool {
	return accepted(c) && c.Done.Write != nil && d.late.Invoke.Write != nil && c.Done.Write.Value == d.late.Invoke.Write.Value
}

// effect says what the resource did with the late write, and if that is unclear, why.
// That it arrived late is proven by B's reads around its own write, and by the answer,
// which came after the release.
func (d delayedWrite) effect() (effect, string) {
	switch {
	case d.aGrant == nil:
		return unclear, "A never acquired the lock"
	case d.hold == nil:
		return unclear, "that A's packets were kept back was never confirmed"
	case d.late == nil:
		return unclear, "A never wrote while its packets were kept back"
	case d.bGrant == nil || d.late.Invoke.Seq > d.bGrant.Invoke.Seq:
		return unclear, "B never acquired the lock after A's write was sent"
	case d.bWrite == nil || !accepted(d.bWrite) && !rejected(d.bWrite):
		return unclear, "B's write has no definite outcome"
	case !accepted(d.before):
		return unclear, "that A's write had not arrived before B's was not looked for"
	case d.reads(d.before) || d.late.Done != nil && d.late.Done.Seq < d.bWrite.Invoke.Seq:
		return unclear, "A's write was not kept back: it arrived before B's"
	case d.release == nil:
		return unclear, "the release of A's packets was never confirmed"
	case d.reads(d.after) && accepted(d.bWrite):
		return harmed, ""
	case d.reads(d.after):
		return inverted, ""
	case dropped(d.release) == 0:
		return unclear, "nothing was kept back"
	case d.late.Done == nil || end(d.late) < d.release.Invoke.Seq:
		return unclear, "A's write was answered before it was let go"
	case accepted(d.late):
		return unclear, "the resource accepted A's late write, and B did not find it afterwards"
	case !rejected(d.late):
		return unclear, "A's late write has no definite outcome"
	case !d.complete:
		return unclear, "the trial was not carried to its end"
	case rejected(d.bWrite):
		return lockedOut, ""
	}
	return fenced, ""
}

func (d delayedWrite) timeline() []Evidence {
	var out []Evidence
	for _, c := range []struct {
		call *history.Call
		note string
	}{
		{d.aGrant, ""}, {d.hold, ""}, {d.bGrant, ""}, {d.before, "A's write has not arrived"}, {d.bWrite, ""},
		{d.release, "A's write arrives"}, {d.late, "sent before B was granted the lock"}, {d.after, ""},
	} {
		out = append(out, d.cite(c.call, c.note)...)
	}
	return out
}

// judgeDelayedWrites judges the writes that the network delivered late.
func judgeDelayedWrites(run record.Run) Finding {
	all := trials(run, delayWrite)
	f := Finding{Trials: Trials{Of: len(all)}}
	worst := unclear
	for _, t := range all {
		d := readDelayedWrite(t)
		e, why := d.effect()
		if e == unclear && worst == unclear {
			f.Summary, f.Evidence = why, d.timeline()
		}
		if e == unclear || e < worst {
			continue
		}
		if e > worst {
			worst, f.Trials.Shown, f.Evidence = e, 0, d.timeline()
		}
		f.Trials.Shown++
	}
	switch worst {
	case fenced:
		f.Outcome, f.Summary = Pass, "A's write, which the network delivered after B had written, was refused"
	case lockedOut:
		f.Outcome, f.Summary = Fail, "the rightful holder B was refused as well as A: nobody could write"
	case inverted:
		f.Outcome, f.Harm, f.Summary = Fail, true, "the resource refused the rightful holder B and afterwards accepted A's late write"
	case harmed:
		f.Outcome, f.Harm, f.Summary = Fail, true, "the resource accepted A's write that the network delivered after B, the rightful holder, had written"
	}
	return f
}
