package checklist

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// alter is edit that keeps the run's other histories.
func alter(run record.Run, probe string, chosen func(history.Event) bool, change func(*history.Event)) record.Run {
	all := maps.Clone(run.Histories)
	all[probe] = edit(run, probe, chosen, change).Histories[probe]
	run.Histories = all
	return run
}

// mutation takes one link away from a run that passes.
type mutation struct {
	name    string
	probe   string
	chosen  func(history.Event) bool
	change  func(*history.Event)
	outcome Outcome
	harm    bool
	says    string
}

func mutate(t *testing.T, item string, mutations []mutation) {
	t.Helper()
	judged, _ := ByID(item)
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			run := load(t, filepath.Join("testdata", item, "pass"))
			if m.chosen != nil {
				run = alter(run, m.probe, m.chosen, m.change)
			}
			f := judge(judged, run)
			if f.Outcome != m.outcome || f.Harm != m.harm || !strings.Contains(f.Summary, m.says) {
				t.Errorf("%s, harm %v: %s; want %s, harm %v, %q", f.Outcome, f.Harm, f.Summary, m.outcome, m.harm, m.says)
			}
		})
	}
}

func kase(name string) func(history.Event) bool {
	return func(e history.Event) bool { return e.Case == name }
}

func by(actor string, chosen func(history.Event) bool) func(history.Event) bool {
	return func(e history.Event) bool { return e.Actor == actor && chosen(e) }
}

func nothingDropped(e *history.Event) {
	f := *e.Fault
	f.Dropped = 0
	e.Fault = &f
}

func numbered(seq uint64) func(*history.Event) {
	return func(e *history.Event) {
		w := *e.Write
		w.Seq = seq
		e.Write = &w
	}
}

func TestEffectsNeedEveryLink(t *testing.T) {
	const both = "effects_happen_once"
	mutate(t, both, []mutation{
		{"unchanged", "", nil, nil, Pass, false, "ran once; A's late write was refused"},
		{"A's late write accepted", lostUpdate, by("a", done(kase(caseIncrement))), is(history.OK, ""), Fail, true, "B's increment was lost"},
		{"A's late write unknown", lostUpdate, by("a", done(kase(caseIncrement))), is(history.Info, history.CodeTimeout), Inconclusive, false, "no definite outcome"},
		{"A's late write missing", lostUpdate, by("a", kase(caseIncrement)), nil, Inconclusive, false, "A never wrote what it had read"},
		{"B's increment refused", lostUpdate, by("b", done(kase(caseIncrement))), is(history.Fail, history.CodeStale), Inconclusive, false, "could not be lost"},
		{"A never read", lostUpdate, by("a", op(history.OpRead)), nil, Inconclusive, false, "was not read by A"},
		{"pause not confirmed", lostUpdate, done(op(history.OpInject)), is(history.Info, history.CodeTimeout), Inconclusive, false, "pause of A was never confirmed"},
		{"final value is another", lostUpdate, by("b", done(op(history.OpRead))), func(e *history.Event) { e.Write = &history.Write{Value: "7"} }, Inconclusive, false, "as B had left it"},
		{"partition not confirmed", doubleExecution, done(op(history.OpInject)), is(history.Info, history.CodeTimeout), Inconclusive, false, "a partition was never confirmed"},
		{"partition lost nothing", doubleExecution, done(op(history.OpRevert)), nothingDropped, Inconclusive, false, "lost no packet"},
		{"A never tried", doubleExecution, by("a", op(history.OpAcquire)), nil, Inconclusive, false, "not due on both sides"},
		{"nobody ran it", doubleExecution, kase(caseExecution), nil, Inconclusive, false, "ran on neither side"},
		{"run refused", doubleExecution, done(kase(caseExecution)), is(history.Fail, history.CodeStale), Inconclusive, false, "ran on neither side"},
	})
}

// TestExecutionsAreCountedAtTheResource: one that answers a repeated operation
// with the first one's number has run it once.
func TestExecutionsAreCountedAtTheResource(t *testing.T) {
	item, _ := ByID("effects_happen_once")
	run := load(t, filepath.Join("testdata", item.ID, "fail"))
	if f := judge(item, run); f.Outcome != Fail || !f.Harm || !strings.Contains(f.Summary, "ran twice") {
		t.Fatalf("%s: %s", f.Outcome, f.Summary)
	}
	once := alter(run, doubleExecution, done(kase(caseExecution)), numbered(1))
	if got := executions(once); got.harmed != 0 {
		t.Errorf("one effect, answered twice: %+v", got)
	}
	unnumbered := alter(run, doubleExecution, done(kase(caseExecution)), numbered(0))
	if got := executions(unnumbered); got.harmed == 0 {
		t.Error("two accepted writes of a resource without numbers are not two effects")
	}
}

func TestPartitionsNeedEveryLink(t *testing.T) {
	stale := func(value string) func(history.Event) bool { return done(writeOf("a", value)) }
	mutate(t, "partitions_tested", []mutation{
		{"unchanged", "", nil, nil, Pass, false, "survived: holder cut off"},
		{"stale write accepted while cut off", cutHolder, stale("a-stale"), is(history.OK, ""), Fail, true, "accepted A's stale write"},
		{"stale write accepted after the heal", cutHolder, stale("a-stale-healed"), is(history.OK, ""), Fail, true, "accepted A's stale write"},
		{"both locked out", cutHolder, done(writeOf("b", "b")), is(history.Fail, history.CodeStale), Fail, false, "rightful holder B was refused"},
		{"cut not confirmed", cutHolder, done(op(history.OpInject)), is(history.Info, history.CodeTimeout), Inconclusive, false, "partition of A was never confirmed"},
		{"cut lost nothing", cutHolder, done(op(history.OpRevert)), nothingDropped, Inconclusive, false, "lost no packet"},
		{"lease never seen to end", cutHolder, func(e history.Event) bool { return e.Holder != nil && !e.Holder.Held }, nil, Inconclusive, false, "never seen to let go"},
		{"lease over too early", cutHolder, func(e history.Event) bool { return e.Holder != nil && e.Type == history.OK },
			func(e *history.Event) { e.Holder = &history.Holder{} }, Inconclusive, false, "still running"},
		{"servers' cut not confirmed", partServers, done(op(history.OpInject)), is(history.Info, history.CodeTimeout), Inconclusive, false, "never confirmed"},
		{"servers' cut lost nothing", partServers, done(op(history.OpRevert)), nothingDropped, Inconclusive, false, "lost no packet"},
		{"A never asked", partServers, by("a", op(history.OpAcquire)), nil, Inconclusive, false, "A never asked"},
		{"no shape", partServers, op(history.OpStep), nil, Inconclusive, false, "never parted"},
	})
}

// TestGrantOnBothSides: A's attempt on its side is made a grant.
func TestGrantOnBothSides(t *testing.T) {
	given := func(e *history.Event) {
		e.Type, e.Code, e.Err = history.OK, "", ""
		e.Grant = &history.Grant{Token: history.OrderedToken(1 << 40), TTL: 60e9}
	}
	run := load(t, filepath.Join("testdata", "partitions_tested", "pass"))
	run = alter(run, partServers, by("a", done(op(history.OpAcquire))), given)
	for _, id := range []string{"partitions_tested", "no_double_grant"} {
		item, _ := ByID(id)
		if f := judge(item, run); f.Outcome != Fail || !f.Harm {
			t.Errorf("%s: %s: %s", id, f.Outcome, f.Summary)
		}
	}
}

// TestServersThatWereNotParted: a service of several servers is not through with
// partitions when only its client was cut off; one of one server is.
func TestServersThatWereNotParted(t *testing.T) {
	item, _ := ByID("partitions_tested")
	run := load(t, filepath.Join("testdata", item.ID, "pass"))
	run.Histories = map[string][]history.Event{cutHolder: run.Histories[cutHolder]}
	if f := judge(item, run); f.Outcome != Inconclusive || !strings.Contains(f.Summary, "between the lock servers not tested") {
		t.Errorf("three servers: %s: %s", f.Outcome, f.Summary)
	}
	one := *run.Facts
	one.Voters, one.Members = 0, one.Members[:1]
	run.Facts = &one
	if f := judge(item, run); f.Outcome != Pass {
		t.Errorf("one server: %s: %s", f.Outcome, f.Summary)
	}
}

// TestPartitionCountsForFencing: the five steps with a partition in the place of
// the pause.
func TestPartitionCountsForFencing(t *testing.T) {
	item, _ := ByID("fencing_enforced")
	run := load(t, filepath.Join("testdata", "partitions_tested", "pass"))
	f := judge(item, run)
	if f.Outcome != Pass || !strings.Contains(f.Summary, "after a partition that outlived its lease") {
		t.Fatalf("%s: %s", f.Outcome, f.Summary)
	}
	run = alter(run, cutHolder, done(writeOf("a", "a-stale-healed")), is(history.OK, ""))
	if f := judge(item, run); f.Outcome != Fail || !f.Harm {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

func TestReplayNeedsEveryLink(t *testing.T) {
	mutate(t, "operation_idempotent", []mutation{
		{"unchanged", "", nil, nil, Pass, false, "applied once, also when it came again"},
		{"no numbers", replayOperation, done(op(history.OpRead)), numbered(0), Inconclusive, false, "does not number its writes"},
		{"operation refused", replayOperation, done(kase(caseOperation)), is(history.Fail, history.CodeStale), Inconclusive, false, "not accepted"},
		{"repetition unknown", replayOperation, done(kase(caseReplay)), func(e *history.Event) { e.Type, e.Code = history.Info, history.CodeTimeout }, Inconclusive, false, "no definite outcome"},
		{"repetition refused", replayOperation, done(kase(caseReplay)), is(history.Fail, history.CodeRefused), Pass, false, "applied once"},
	})
	mutate(t, "idempotency_could_replace_lock", []mutation{
		{"unchanged", "", nil, nil, Pass, false, "recognises an operation by its id"},
		{"late one stopped by the token", replayOperation, done(kase(caseLate)), is(history.Fail, history.CodeStale), Warn, false, "the lock's token that stops"},
		{"B's write refused", replayOperation, done(kase(caseOther)), is(history.Fail, history.CodeStale), Inconclusive, false, ""},
	})
}

// TestReappliedLate: each repetition alone is enough to fail.
func TestReappliedLate(t *testing.T) {
	item, _ := ByID("operation_idempotent")
	run := load(t, filepath.Join("testdata", item.ID, "pass"))
	events := slices.Clone(run.Histories[replayOperation])
	for i := len(events) - 1; i >= 0; i-- {
		if e := &events[i]; e.Op == history.OpRead && e.Type == history.OK {
			numbered(9)(e)
			break
		}
	}
	run.Histories = map[string][]history.Event{replayOperation: events}
	if f := judge(item, run); f.Outcome != Fail || f.Harm || !strings.Contains(f.Summary, "after somebody else's, was applied again") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

func TestTakeoverNeedsBothLosses(t *testing.T) {
	mutate(t, "recovers_after_crash", []mutation{
		{"unchanged", "", nil, nil, Pass, false, "silent loss of A's node within"},
		{"no crash", crashHolder, op(history.OpKill), nil, Inconclusive, false, "a crash of the holder was not tested"},
		{"no cut", loseNode, done(op(history.OpInject)), is(history.Info, history.CodeTimeout), Inconclusive, false, "partition of A's node was never confirmed"},
		{"not killed", loseNode, op(history.OpKill), nil, Inconclusive, false, "silent loss of a node was not tested"},
		{"B too early", loseNode, by("b", op(history.OpAcquire)), func(e *history.Event) { e.At -= 2e9 }, Inconclusive, false, "of whose death nobody could know"},
		{"B too late", loseNode, by("b", done(op(history.OpAcquire))), func(e *history.Event) { e.At += 60e9 }, Fail, false, "B could acquire only"},
	})
}

// TestFailoverIsShownByAnotherLeader: without it, or with the same one again, a
// failover was not tested.
func TestFailoverIsShownByAnotherLeader(t *testing.T) {
	item, _ := ByID("tokens_increasing")
	run := load(t, filepath.Join("testdata", item.ID, "failover"))
	tested := func(run record.Run) bool {
		return strings.Contains(judge(item, run).Summary, "and a failover")
	}
	if !tested(run) {
		t.Fatal(judge(item, run).Summary)
	}
	if tested(alter(run, isolateLeader, op(history.OpLead), func(e *history.Event) { e.Node = "lock-1" })) {
		t.Error("the same leader again counts as a failover")
	}
	if tested(alter(run, isolateLeader, done(op(history.OpInject)), is(history.Info, history.CodeTimeout))) {
		t.Error("a partition that was never confirmed counts")
	}
	back := alter(run, isolateLeader, by("b", done(op(history.OpAcquire))), func(e *history.Event) {
		if e.Type == history.OK {
			e.Grant = &history.Grant{Token: history.OrderedToken(1), TTL: e.Grant.TTL}
		}
	})
	if f := judge(item, back); f.Outcome != Fail || !strings.Contains(f.Summary, "lower token") {
		t.Errorf("a token that went back: %s: %s", f.Outcome, f.Summary)
	}
}

// TestARepeatedShapeIsNoGap: a shape that a stalled machine did not let show, and that
// was shown when it was repeated, was tested; one that never was is still missing.
func TestARepeatedShapeIsNoGap(t *testing.T) {
	item, _ := ByID("partitions_tested")
	run := load(t, filepath.Join("testdata", item.ID, "pass"))
	events := run.Histories[partServers]
	last := events[len(events)-1].Trial
	var again []history.Event // the last trial, once more
	for _, e := range events {
		if e.Trial == last {
			e.Trial, e.Seq = last+1, e.Seq+len(events)
			if e.Call > 0 {
				e.Call += len(events)
			}
			again = append(again, e)
		}
	}
	shown := run
	shown.Histories = maps.Clone(run.Histories)
	shown.Histories[partServers] = append(slices.Clone(events), again...)
	shown.Manifest.Probes = slices.Clone(run.Manifest.Probes)
	for i := range shown.Manifest.Probes {
		if shown.Manifest.Probes[i].Name == partServers {
			shown.Manifest.Probes[i].Repeats = []record.Repeat{{Trial: last, Why: "the auditor stood still"}}
		}
	}
	if f := judge(item, shown); f.Outcome != Pass {
		t.Errorf("repeated and shown: %s: %s", f.Outcome, f.Summary)
	}
	shown.Histories[partServers] = events
	if f := judge(item, shown); f.Outcome != Inconclusive {
		t.Errorf("never shown: %s: %s", f.Outcome, f.Summary)
	}
}

// TestRandomShapesAreJudged: recorded on the labs etcd-5, where the majority that was
// left granted once, and split-store, where both sides granted. The command that shows
// it again draws the same shapes.
func TestRandomShapesAreJudged(t *testing.T) {
	item, _ := ByID("partitions_tested")
	dir := filepath.Join("testdata", item.ID)
	good, bad := load(t, filepath.Join(dir, "random-pass")), load(t, filepath.Join(dir, "random-fail"))
	if f := judge(item, good); f.Outcome != Pass || !strings.Contains(f.Summary, "random of seed 5 (granted to B), random-one-way of seed 5 (granted to A)") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
	for _, id := range []string{"partitions_tested", "no_double_grant"} {
		item, _ := ByID(id)
		if f := judge(item, bad); f.Outcome != Fail || !f.Harm || f.Reproduce != "lockaudit audit plan.yaml --probes partition-lock-servers --seed 2" {
			t.Errorf("%s: %s, harm %v: %s: %s", id, f.Outcome, f.Harm, f.Summary, f.Reproduce)
		}
	}
	// A double grant made of the good one: the other side's attempt becomes a grant.
	given := func(e *history.Event) {
		e.Type, e.Code, e.Err = history.OK, "", ""
		e.Grant = &history.Grant{Token: history.OrderedToken(1 << 40), TTL: 60e9}
	}
	first := func(e history.Event) bool { return e.Trial == 1 }
	made := alter(good, partServers, func(e history.Event) bool { return by("a", done(op(history.OpAcquire)))(e) && first(e) }, given)
	if f := judge(item, made); f.Outcome != Fail || !f.Harm || !strings.Contains(f.Summary, "random of seed 5 (granted to A and B)") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
	if got := reproduce(good.Manifest, cutHolder); strings.Contains(got, "seed") {
		t.Errorf("%s: a seed draws nothing there", got)
	}
}
