package checklist

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// observedRun is the record of one trial on a real application whose late write came and
// was kept off, before a resource that fences. drop leaves events out, and change alters
// what is left.
func observedRun(resource string, drop func(history.Event) bool, change func(*history.Event)) record.Run {
	var events []history.Event
	at := time.Duration(0)
	call := func(e history.Event, done func(*history.Event)) {
		e.Trial, e.Type = 1, history.Invoke
		at += 500 * time.Millisecond
		e.Seq, e.At = len(events)+1, at
		if drop != nil && drop(e) {
			return
		}
		events = append(events, e)
		e.Type, e.Call, e.Seq, e.At = history.OK, e.Seq, e.Seq+1, at+time.Millisecond
		if done != nil {
			done(&e)
		}
		if change != nil {
			change(&e)
		}
		events = append(events, e)
	}
	const key = "/locks/billing"
	fault := func(op history.Op, kind string) {
		call(history.Event{Actor: "agent", Op: op, Fault: &history.Fault{Kind: kind, Target: "a"}}, nil)
	}
	holder := func(id string) {
		call(history.Event{Actor: "observer", Op: history.OpObserve, Key: key}, func(e *history.Event) {
			e.Holder = &history.Holder{Held: id != "", ID: id}
		})
	}
	grant := func(actor, key string) {
		call(history.Event{Actor: actor, Op: history.OpAcquire, Key: key}, func(e *history.Event) { e.Grant = &history.Grant{TTL: 2 * time.Second} })
	}
	write := func(actor, kase, token string, typ history.Type) {
		call(history.Event{Actor: actor, Op: history.OpWrite, Row: "canary", Case: kase, Write: &history.Write{Token: history.Token{ID: token}}}, func(e *history.Event) {
			e.Type = typ
			if typ == history.Fail {
				e.Code = history.CodeStale
			}
		})
	}
	holder("one")
	grant("a", key)
	fault(history.OpInject, "pause")
	fault(history.OpInject, "partition")
	at += 2 * time.Second
	holder("two") // nobody saw it free: the other was waiting
	grant("b", key)
	fault(history.OpRevert, "pause")
	call(history.Event{Actor: "a", Op: history.OpAttempt}, func(e *history.Event) { e.Err = "it has written 214 bytes" })
	fault(history.OpRevert, "partition")
	write("canary-a", "", "1", history.OK)
	write("canary-b", "", "2", history.OK)
	write("canary-a", caseCanaryStale, "1", history.Fail)
	write("canary-a", caseCanaryMissing, "", history.Fail)
	return record.Run{
		Manifest: record.Manifest{
			Subject: record.Subject{Observed: true, Resource: resource, TTL: 2 * time.Second, Purpose: "correctness"},
			Probes:  []record.Probe{{Name: pauseHolder, Status: record.Ran, Trials: 1, Completed: 1}},
		},
		Histories: map[string][]history.Event{pauseHolder: events},
	}
}

// TestKeptOff: a late write that was kept off is half of a verdict; what is missing of the
// other half makes it none.
func TestKeptOff(t *testing.T) {
	only := func(op history.Op, actor, kase string) func(history.Event) bool {
		return func(e history.Event) bool { return e.Op == op && e.Actor == actor && (kase == "" || e.Case == kase) }
	}
	accept := func(cases ...string) func(*history.Event) {
		return func(e *history.Event) {
			if e.Op == history.OpWrite && slices.Contains(cases, e.Case) {
				e.Type, e.Code = history.OK, ""
			}
		}
	}
	faults := func(op history.Op, kind string) func(history.Event) bool {
		return func(e history.Event) bool { return e.Op == op && e.Fault.Kind == kind }
	}
	for _, c := range []struct {
		name, resource string
		drop           func(history.Event) bool
		change         func(*history.Event)
		want           Outcome
		words          string
	}{
		{"all of it", "http", nil, nil, Pass, "came, and was kept off"},
		{"it never came", "http", only(history.OpAttempt, "a", ""), nil, Inconclusive, "not seen to write"},
		{"nobody took over", "http", only(history.OpAcquire, "b", ""), nil, Inconclusive, "B never acquired"},
		{"the lease never ended", "http", nil, func(e *history.Event) {
			if e.Holder != nil {
				e.Holder.ID = "one"
			}
		}, Inconclusive, "never seen to let go"},
		{"pause not confirmed", "http", faults(history.OpInject, "pause"), nil, Inconclusive, "never confirmed"},
		{"not tried on a canary row", "http", only(history.OpWrite, "canary-a", caseCanaryStale), nil, Inconclusive, "not tried on a canary row"},
		{"stale accepted", "http", nil, accept(caseCanaryStale, caseCanaryMissing), Fail, "would have accepted"},
		{"no token needed, and none seen", "http", nil, accept(caseCanaryMissing), Inconclusive, "nobody has seen that the application sends its own"},
		{"canary refused whatever it is", "http", nil, func(e *history.Event) {
			if e.Op == history.OpWrite {
				e.Type = history.Fail
			}
		}, Inconclusive, "did not accept what is in order"},
		{"the fence is in a statement", "postgres", nil, nil, Inconclusive, "depends on the statement"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := observedRun(c.resource, c.drop, c.change)
			for _, id := range []string{"fencing_enforced", "not_ttl_only"} {
				item, _ := ByID(id)
				f := judge(item, run)
				if f.Outcome != c.want || f.Harm {
					t.Errorf("%s %v, harm %v: %s", id, f.Outcome, f.Harm, f.Summary)
				}
				if id == "fencing_enforced" && !strings.Contains(f.Summary, c.words) {
					t.Errorf("%s: %q, want %q", id, f.Summary, c.words)
				}
				if f.Outcome == Pass && len(f.Evidence) < 5 {
					t.Errorf("%s passes on %d events", id, len(f.Evidence))
				}
			}
		})
	}
	t.Run("no token needed, and the application's own seen", func(t *testing.T) {
		run := observedRun("http", nil, accept(caseCanaryMissing))
		events := run.Histories[pauseHolder]
		events = append(events, history.Event{
			Seq: len(events) + 1, At: time.Minute, Trial: 1, Actor: "b", Op: history.OpWrite, Type: history.OK, Case: caseObserved,
			Write: &history.Write{Token: history.Token{ID: "7"}},
		})
		run.Histories[pauseHolder] = events
		item, _ := ByID("fencing_enforced")
		if f := judge(item, run); f.Outcome != Pass {
			t.Errorf("%v: %s", f.Outcome, f.Summary)
		}
	})
	t.Run("an unfinished trial passes nothing", func(t *testing.T) {
		run := observedRun("http", nil, nil)
		run.Manifest.Probes[0].Completed = 0
		item, _ := ByID("fencing_enforced")
		if f := judge(item, run); f.Outcome != Inconclusive {
			t.Errorf("%v: %s", f.Outcome, f.Summary)
		}
	})
	t.Run("belief cannot be seen", func(t *testing.T) {
		run := observedRun("http", nil, nil)
		if _, ok := BeliefOverlap(run); ok {
			t.Error("the report speaks of what the application believed")
		}
	})
}
