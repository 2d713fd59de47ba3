package checklist

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// edit changes every event of the run that is chosen; nil from change drops it.
func edit(run record.Run, probe string, chosen func(history.Event) bool, change func(*history.Event)) record.Run {
	var events []history.Event
	for _, e := range run.Histories[probe] {
		if chosen(e) {
			if change == nil {
				continue
			}
			change(&e)
		}
		events = append(events, e)
	}
	run.Histories = map[string][]history.Event{probe: events}
	return run
}

func writeOf(actor, value string) func(history.Event) bool {
	return func(e history.Event) bool {
		return e.Actor == actor && e.Op == history.OpWrite && e.Write != nil && e.Write.Value == value
	}
}

func done(chosen func(history.Event) bool) func(history.Event) bool {
	return func(e history.Event) bool { return e.Type != history.Invoke && chosen(e) }
}

func op(o history.Op) func(history.Event) bool {
	return func(e history.Event) bool { return e.Op == o }
}

func is(typ history.Type, code history.Code) func(*history.Event) {
	return func(e *history.Event) { e.Type, e.Code = typ, code }
}

// TestFencingNeedsEveryLink starts from a run that passes and takes one link away.
func TestFencingNeedsEveryLink(t *testing.T) {
	item, _ := ByID("fencing_enforced")
	type runEdit = func(record.Run) record.Run
	five := func(chosen func(history.Event) bool, change func(*history.Event)) runEdit {
		return func(run record.Run) record.Run { return edit(run, pauseHolder, chosen, change) }
	}
	both := func(edits ...runEdit) runEdit {
		return func(run record.Run) record.Run {
			for _, e := range edits {
				run = e(run)
			}
			return run
		}
	}
	cutOff := func(run record.Run) record.Run {
		run.Manifest.Probes = slices.Clone(run.Manifest.Probes)
		run.Manifest.Probes[0].Completed = 0
		return run
	}
	bRefused := five(done(writeOf("b", "b")), is(history.Fail, history.CodeStale))
	aAccepted := five(done(writeOf("a", "a-stale")), is(history.OK, ""))
	isFree := func(e history.Event) bool { return e.Holder != nil && !e.Holder.Held }
	for _, c := range []struct {
		name    string
		edit    runEdit
		outcome Outcome
		harm    bool
		says    string
	}{
		{"unchanged", both(), Pass, false, "tried and refused"},
		{"refused in other words", five(done(writeOf("a", "a-stale")), is(history.Fail, history.CodeRefused)), Pass, false, "tried and refused"},
		{"A never acquired", five(done(op(history.OpAcquire)), is(history.Fail, history.CodeHeld)), Inconclusive, false, "never acquired"},
		{"A did not write before", five(writeOf("a", "a-first"), nil), Inconclusive, false, "before the pause"},
		{"A's first write refused", five(done(writeOf("a", "a-first")), is(history.Fail, history.CodeRefused)), Inconclusive, false, "before the pause"},
		{"pause not confirmed", five(done(op(history.OpInject)), is(history.Info, history.CodeTimeout)), Inconclusive, false, "pause of A was never confirmed"},
		{"another process paused", five(op(history.OpInject), func(e *history.Event) { f := *e.Fault; f.Target = "b"; e.Fault = &f }), Inconclusive, false, "pause of A was never confirmed"},
		{"lease never seen to end", five(isFree, nil), Inconclusive, false, "never seen to let go"},
		{"B never acquired", five(func(e history.Event) bool { return e.Actor == "b" }, nil), Inconclusive, false, "B never acquired"},
		{"B never wrote", five(writeOf("b", "b"), nil), Inconclusive, false, "B never wrote"},
		{"B's write unknown", five(done(writeOf("b", "b")), is(history.Info, history.CodeTimeout)), Inconclusive, false, "no definite outcome"},
		{"resume not confirmed", five(done(op(history.OpRevert)), is(history.Info, history.CodeTimeout)), Inconclusive, false, "end of A's pause"},
		{"A's stale write missing", five(writeOf("a", "a-stale"), nil), Inconclusive, false, "A never wrote after"},
		{"A's stale write unknown", five(done(writeOf("a", "a-stale")), is(history.Info, history.CodeExited)), Inconclusive, false, "no definite outcome"},
		{"trial cut off", cutOff, Inconclusive, false, "not carried to its end"},
		{"stale accepted", aAccepted, Fail, true, "accepted A's stale write"},
		{"stale accepted, trial cut off", both(aAccepted, cutOff), Fail, true, "accepted A's stale write"},
		{"stale accepted, pause not confirmed by observation", both(aAccepted, five(isFree, nil)), Fail, true, "accepted A's stale write"},
		{"equality check", both(bRefused, aAccepted), Fail, true, "refused the rightful holder B and afterwards accepted"},
		{"both locked out", bRefused, Fail, false, "nobody could write"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := judge(item, c.edit(load(t, filepath.Join("testdata", "fencing_enforced", "pass"))))
			if f.Outcome != c.outcome || f.Harm != c.harm || !strings.Contains(f.Summary, c.says) {
				t.Errorf("%s, harm %v: %s; want %s, harm %v, %q", f.Outcome, f.Harm, f.Summary, c.outcome, c.harm, c.says)
			}
		})
	}
}

func TestFencingPassCitesTheDanger(t *testing.T) {
	item, _ := ByID("fencing_enforced")
	run := load(t, filepath.Join("testdata", item.ID, "pass"))
	f := judge(item, run)
	var ops []string
	for _, cited := range f.Evidence {
		for _, e := range run.Histories[pauseHolder] {
			if e.Seq == cited.Seq && e.At == cited.At {
				ops = append(ops, e.Actor+" "+string(e.Op)+" "+string(e.Type))
			}
		}
	}
	want := []string{"a acquire ok", "a write ok", "agent inject ok", "observer observe ok", "b acquire ok", "b write ok", "agent revert ok", "a write fail"}
	if !slices.Equal(ops, want) {
		t.Errorf("cites %q, want %q", ops, want)
	}
}

func TestEfficiencyLockMakesFencingAdvice(t *testing.T) {
	for _, id := range []string{"fencing_enforced", "not_ttl_only", "tokens_increasing"} {
		item, _ := ByID(id)
		run := load(t, filepath.Join("testdata", id, "fail"))
		run.Manifest.Subject.Purpose = "efficiency"
		f := judge(item, run)
		if f.Outcome != Warn || f.Severity != Advice || f.Harm || !strings.Contains(f.Summary, "advice") {
			t.Errorf("%s: %+v", id, f)
		}
		if g := GradeOf([]Finding{f}, run); g.Letter != "A" {
			t.Errorf("%s: advice costs the letter %s", id, g.Letter)
		}
	}
}

// battery loads the five steps of a run that passes together with a battery that
// found nothing.
func battery(t *testing.T) record.Run {
	run := load(t, filepath.Join("testdata", "fencing_enforced", "pass"))
	other := load(t, filepath.Join("..", "reports", "testdata", "runs", "etcd-ordered"))
	run.Histories[tokenBattery] = other.Histories[tokenBattery]
	return run
}

func TestTokenBattery(t *testing.T) {
	item, _ := ByID("fencing_enforced")
	kase := func(name, actor string) func(history.Event) bool {
		return done(func(e history.Event) bool { return e.Case == name && (actor == "" || e.Actor == actor) })
	}
	accept, refuse := is(history.OK, ""), is(history.Fail, history.CodeStale)
	for _, c := range []struct {
		name    string
		chosen  func(history.Event) bool
		change  func(*history.Event)
		outcome Outcome
		harm    bool
		says    string
	}{
		{"nothing wrong", kase("", "nobody"), accept, Pass, false, "tried and refused"},
		{"stale accepted", kase(caseStale, ""), accept, Fail, true, "earlier holder's token"},
		{"newest of B refused", kase(caseNewest, "b"), refuse, Fail, false, "rightful holder"},
		{"same token twice refused", kase(caseEqualSame, ""), refuse, Fail, false, "rightful holder"},
		{"missing accepted", kase(caseMissing, ""), accept, Fail, false, "token was missing"},
		{"malformed accepted", kase(caseMalformed, ""), accept, Fail, false, "token was malformed"},
		{"untouched row accepted", kase(caseNeverRow, ""), accept, Warn, false, "rows that no newer holder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := battery(t)
			run.Histories[tokenBattery] = edit(run, tokenBattery, c.chosen, c.change).Histories[tokenBattery]
			f := judge(item, run)
			if f.Outcome != c.outcome || f.Harm != c.harm || !strings.Contains(f.Summary, c.says) || len(f.Evidence) == 0 {
				t.Errorf("%s, harm %v: %s; want %s, harm %v, %q", f.Outcome, f.Harm, f.Summary, c.outcome, c.harm, c.says)
			}
		})
	}
}

// TestBatteryFindsEqualityCheck: the newer token refused, the older one accepted
// after it, also where the five steps were not run.
func TestBatteryFindsEqualityCheck(t *testing.T) {
	item, _ := ByID("fencing_enforced")
	run := edit(battery(t), tokenBattery, done(writeOf("b", "newest-b")), is(history.Fail, history.CodeStale))
	run = edit(run, tokenBattery, done(writeOf("a", "stale")), is(history.OK, ""))
	if f := judge(item, run); f.Outcome != Fail || !f.Harm || !strings.Contains(f.Summary, "afterwards accepted") {
		t.Errorf("%s, harm %v: %s", f.Outcome, f.Harm, f.Summary)
	}
}

// TestBatteryWarningAloneIsNoVerdict: without the five steps no late holder was seen.
func TestBatteryWarningAloneIsNoVerdict(t *testing.T) {
	item, _ := ByID("fencing_enforced")
	run := battery(t)
	run = edit(run, tokenBattery, done(func(e history.Event) bool { return e.Case == caseNeverRow }), is(history.OK, ""))
	if f := judge(item, run); f.Outcome != Inconclusive {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

func TestConcurrentWrites(t *testing.T) {
	item, _ := ByID("fencing_enforced")
	round := func(oldSeq, newSeq uint64) []history.Event {
		write := func(seq int, actor string, token int64, typ history.Type, call int, order uint64) history.Event {
			return history.Event{Seq: seq, At: 1, Trial: 1, Actor: actor, Op: history.OpWrite, Type: typ, Call: call, Case: caseConcurrent,
				Row: "r", Write: &history.Write{Token: history.OrderedToken(token), Seq: order}}
		}
		return []history.Event{
			write(1, "a", 7, history.Invoke, 0, 0), write(2, "b", 9, history.Invoke, 0, 0),
			write(3, "a", 7, history.OK, 1, oldSeq), write(4, "b", 9, history.OK, 2, newSeq),
		}
	}
	for _, c := range []struct {
		name        string
		older, next uint64
		outcome     Outcome
	}{
		{"stale first", 1, 2, Pass},
		{"stale after newer", 2, 1, Fail},
		{"the resource does not number its writes", 0, 0, Pass},
	} {
		run := load(t, filepath.Join("testdata", "fencing_enforced", "pass"))
		run.Histories[tokenBattery] = round(c.older, c.next)
		if f := judge(item, run); f.Outcome != c.outcome || f.Harm != (c.outcome == Fail) {
			t.Errorf("%s: %s, harm %v: %s", c.name, f.Outcome, f.Harm, f.Summary)
		}
	}
}
