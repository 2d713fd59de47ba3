package checklist

import (
	"path/filepath"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// changed is a fixture of one probe with its events changed.
func changed(t *testing.T, dir, probe string, change func(e *history.Event) (keep bool)) record.Run {
	t.Helper()
	run := load(t, filepath.Join("testdata", dir))
	var events []history.Event
	for _, e := range run.Histories[probe] {
		if e.Fault != nil {
			f := *e.Fault
			e.Fault = &f
		}
		if e.Write != nil {
			w := *e.Write
			e.Write = &w
		}
		if change == nil || change(&e) {
			events = append(events, e)
		}
	}
	run.Histories[probe] = events
	return run
}

// doneBy is the outcome of an actor's call.
func doneBy(e *history.Event, actor string, op history.Op) bool {
	return e.Actor == actor && e.Op == op && e.Type != history.Invoke
}

// TestDelayedWrite: the write that the network delivers late is harm if accepted, and
// a refusal counts only if it was kept back, and B wrote in between.
func TestDelayedWrite(t *testing.T) {
	none := func(*history.Event) bool { return true }
	reads := 0
	for name, c := range map[string]struct {
		fixture string
		change  func(*history.Event) bool
		want    Outcome
	}{
		"refused":  {"late-pass", none, Pass},
		"accepted": {"late-fail", none, Fail},
		"accepted, the answer was lost, B finds it": {"late-fail", func(e *history.Event) bool {
			if doneBy(e, "a", history.OpWrite) && e.Write != nil && e.Write.Value == "a-late" {
				e.Type = history.Info
			}
			return true
		}, Fail},
		"nothing was kept back": {"late-pass", func(e *history.Event) bool {
			if e.Op == history.OpRevert && e.Fault != nil && e.Fault.Kind == "hold" {
				e.Fault.Dropped = 0
			}
			return true
		}, Inconclusive},
		"the hold was never confirmed": {"late-pass", func(e *history.Event) bool {
			return e.Op != history.OpInject || e.Fault == nil || e.Fault.Kind != "hold" || e.Type != history.OK
		}, Inconclusive},
		"B did not look first": {"late-pass", func(e *history.Event) bool { return e.Op != history.OpRead }, Inconclusive},
		"it had arrived before B's": {"late-fail", func(e *history.Event) bool {
			if doneBy(e, "b", history.OpRead) {
				if reads++; reads == 1 {
					e.Write.Value = "a-late"
				}
			}
			return true
		}, Inconclusive},
		"no answer and no trace": {"late-pass", func(e *history.Event) bool {
			if doneBy(e, "a", history.OpWrite) && e.Write != nil && e.Write.Value == "a-late" {
				e.Type = history.Info
			}
			return true
		}, Inconclusive},
		"B never wrote": {"late-pass", func(e *history.Event) bool { return e.Actor != "b" || e.Op != history.OpWrite }, Inconclusive},
	} {
		f := judgeFencing(changed(t, "fencing_enforced/"+c.fixture, delayWrite, c.change))
		if f.Outcome != c.want || f.Harm != (c.want == Fail) {
			t.Errorf("%s: %s, harm %v, want %s: %s", name, f.Outcome, f.Harm, c.want, f.Summary)
		}
	}
}

// TestDelayedWriteMakesWorse: five steps that pass do not outweigh a late write that
// was accepted.
func TestDelayedWriteMakesWorse(t *testing.T) {
	run := load(t, filepath.Join("testdata", "fencing_enforced/pass"))
	for fixture, want := range map[string]Outcome{"late-pass": Pass, "late-fail": Fail} {
		late := load(t, filepath.Join("testdata", "fencing_enforced/"+fixture))
		run.Histories[delayWrite] = late.Histories[delayWrite]
		both := run
		both.Manifest.Probes = append(append([]record.Probe(nil), run.Manifest.Probes...), late.Manifest.Probes...)
		if f := judgeFencing(both); f.Outcome != want {
			t.Errorf("%s: %s, want %s: %s", fixture, f.Outcome, want, f.Summary)
		}
	}
}

// TestLostReply: without the sight of the attempt carried out, or of a lost packet,
// a retry that works shows nothing.
func TestLostReply(t *testing.T) {
	lastRevert := 0
	for name, c := range map[string]struct {
		fixture string
		change  func(*history.Event) bool
		want    Outcome
	}{
		"the attempt was never seen": {"pass", func(e *history.Event) bool {
			return e.Op != history.OpObserve || e.Holder == nil || !e.Holder.Held
		}, Inconclusive},
		"no packet was lost": {"pass", func(e *history.Event) bool {
			if e.Op == history.OpRevert && e.Fault != nil {
				e.Fault.Dropped = 0
			}
			return true
		}, Inconclusive},
		"the attempt was answered": {"fail", func(e *history.Event) bool {
			if doneBy(e, "a", history.OpAcquire) && e.Type == history.Info {
				e.Type = history.Fail
			}
			return true
		}, Inconclusive},
		"the heal was never confirmed": {"fail", func(e *history.Event) bool { return e.Op != history.OpRevert }, Inconclusive},
		"a retry without an outcome": {"fail", func(e *history.Event) bool {
			if e.Op == history.OpRevert && e.Type == history.OK {
				lastRevert = e.Seq
			}
			if doneBy(e, "a", history.OpAcquire) && lastRevert > 0 {
				e.Type = history.Info
			}
			return true
		}, Inconclusive},
		"never free after the release": {"pass", func(e *history.Event) bool {
			return e.Op != history.OpObserve || e.Actor != "observer" || e.Holder == nil || e.Holder.Held
		}, Fail},
	} {
		f := judgeLostReply(changed(t, "lost_reply_retry_safe/"+c.fixture, loseReply, c.change))
		if f.Outcome != c.want {
			t.Errorf("%s: %s, want %s: %s", name, f.Outcome, c.want, f.Summary)
		}
	}
}
