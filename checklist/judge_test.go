package checklist

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func TestEmptyRunIsNotTested(t *testing.T) {
	for _, f := range Judge(record.Run{}) {
		if f.Outcome != Inconclusive || f.Tested || !strings.HasPrefix(f.Summary, "not tested: needs ") {
			t.Errorf("%s: %+v", f.Item, f)
		}
	}
}

func TestSkippedProbeSaysWhy(t *testing.T) {
	run := record.Run{Manifest: record.Manifest{Probes: []record.Probe{
		{Name: pauseHolder, Status: record.Skipped, Err: "the plan names no resource to write to"},
	}}}
	item, _ := ByID("not_ttl_only")
	if f := judge(item, run); !strings.Contains(f.Summary, "skipped: the plan names no resource") {
		t.Error(f.Summary)
	}
}

// TestUnknownEventsAreTolerated: a history of a newer or an older version may hold
// operations, types and gaps that this one does not know.
func TestUnknownEventsAreTolerated(t *testing.T) {
	run := load(t, filepath.Join("testdata", "fencing_enforced", "pass"))
	strange := []history.Event{
		{Seq: 9001, Trial: 1, Actor: "z", Op: "levitate", Type: "maybe", Call: 77},
		{Seq: 9002, Trial: 0, Actor: "a", Op: history.OpWrite, Type: history.OK},
		{Seq: 9003, Trial: 1, Actor: "a", Op: history.OpObserve, Type: history.OK, Call: 9003},
	}
	run.Histories[pauseHolder] = append(run.Histories[pauseHolder], strange...)
	for _, probe := range append(everyProbe(), "of-a-newer-version") {
		if probe == pauseHolder {
			continue
		}
		run.Histories[probe] = strange
	}
	run.Facts = &facts.Deployment{}
	for _, f := range Judge(run) {
		if strings.Contains(f.Summary, "broke down") {
			t.Errorf("%s: %s", f.Item, f.Summary)
		}
		if f.Item == "fencing_enforced" && f.Outcome != Pass {
			t.Errorf("%s: %s", f.Outcome, f.Summary)
		}
	}
}

// everyProbe lists the probes that some item reads.
func everyProbe() []string {
	var out []string
	for _, item := range Items() {
		for _, p := range item.Probes {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// FuzzJudge: no record makes a judge panic, or pass an item without evidence.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"seq":1,"actor":"a","op":"acquire","type":"ok","call":1,"grant":{}}`,
		`{"seq":1,"trial":1,"actor":"a","op":"kill","type":"ok"}`,
		`{"seq":1,"trial":1,"node":"n","op":"measure","type":"ok","sample":{"name":"pause","unit":"ns","count":1,"max":-5}}`,
		`{"seq":1,"trial":1,"op":"signal","type":"ok","call":1,"signal":{"kind":"log","phase":"refused","lines":[{"text":"lock"}]}}`,
	} {
		f.Add(seed, seed, "")
	}
	f.Fuzz(func(t *testing.T, first, second, purpose string) {
		run := record.Run{Histories: map[string][]history.Event{}}
		run.Manifest.Subject.Purpose = purpose
		var events []history.Event
		for _, text := range []string{first, second, first} {
			var e history.Event
			if json.Unmarshal([]byte(text), &e) == nil {
				events = append(events, e)
			}
		}
		for _, probe := range []string{pauseHolder, crashHolder, contend, tokenBattery, measurePauses, measureNetwork} {
			run.Histories[probe] = events
			run.Manifest.Probes = append(run.Manifest.Probes, record.Probe{Name: probe, Completed: 9})
		}
		findings := Judge(run)
		for _, found := range findings {
			if strings.Contains(found.Summary, "broke down") {
				t.Fatalf("%s: %s", found.Item, found.Summary)
			}
			if found.Outcome == Pass && len(found.Evidence) == 0 {
				t.Fatalf("%s passes without evidence", found.Item)
			}
		}
		GradeOf(findings, run)
	})
}

// TestGrantsContradictAcrossProbes: the probes share one key and one clock.
func TestGrantsContradictAcrossProbes(t *testing.T) {
	grant := func(actor string, from time.Duration, token int64) []history.Event {
		return []history.Event{
			{Seq: 1, At: from, Trial: 1, Actor: actor, Key: "k", Op: history.OpAcquire, Type: history.Invoke},
			{Seq: 2, At: from + 1, Trial: 1, Actor: actor, Key: "k", Op: history.OpAcquire, Type: history.OK, Call: 1,
				Grant: &history.Grant{Token: history.OrderedToken(token), TTL: time.Minute}},
		}
	}
	run := record.Run{Histories: map[string][]history.Event{contend: grant("a", time.Second, 7), crashHolder: grant("b", 2*time.Second, 5)}}
	for id, events := range map[string]int{"no_double_grant": 2, "tokens_increasing": 2} {
		item, _ := ByID(id)
		f := judge(item, run)
		if f.Outcome != Fail || len(f.Evidence) != events || f.Evidence[0].Probe != contend || f.Evidence[1].Probe != crashHolder || f.Evidence[1].Seq != 2 {
			t.Errorf("%s: %+v", id, f)
		}
	}
}

func TestFactItems(t *testing.T) {
	yes, no := true, false
	member := func(endpoint, id string) facts.Member { return facts.Member{Endpoint: endpoint, ID: id} }
	for _, c := range []struct {
		name, item string
		facts      facts.Deployment
		endpoints  []string
		want       Outcome
	}{
		{"one voter", "consensus_backed", facts.Deployment{Consensus: "raft", Voters: 1}, nil, Warn},
		{"memory only", "consensus_backed", facts.Deployment{Consensus: "raft", Voters: 3, Durable: &no}, nil, Fail},
		{"voters unknown", "consensus_backed", facts.Deployment{Consensus: "raft"}, nil, Inconclusive},
		{"two endpoints, one server", "not_single_instance", facts.Deployment{Members: []facts.Member{member("x:1", "i"), member("y:1", "i")}}, nil, Fail},
		{"two servers", "not_single_instance", facts.Deployment{Members: []facts.Member{member("x:1", "i"), member("y:1", "j")}}, nil, Pass},
		{"one server and a replica", "not_single_instance", facts.Deployment{Replicas: 1, Members: []facts.Member{member("x:1", "i")}}, nil, Pass},
		{"one read, one silent", "not_single_instance", facts.Deployment{Members: []facts.Member{member("x:1", "i"), {Endpoint: "y:1", Err: "refused"}}}, nil, Inconclusive},
		{"open on a private network", "tls_and_auth", facts.Deployment{TLS: &no, Auth: &no}, []string{"10.0.0.1:2379", "[fd00::1]:2379", "100.64.0.9:1", "etcd.example:2379"}, Warn},
		{"open on a public address", "tls_and_auth", facts.Deployment{TLS: &yes, Auth: &no}, []string{"10.0.0.1:2379", "https://[2001:db8::1]:2379"}, Fail},
		{"half known", "tls_and_auth", facts.Deployment{TLS: &yes}, nil, Inconclusive},
	} {
		run := record.Run{Facts: &c.facts}
		run.Manifest.Subject.Endpoints = c.endpoints
		item, _ := ByID(c.item)
		if f := judge(item, run); f.Outcome != c.want {
			t.Errorf("%s: %s: %s, want %s", c.name, f.Outcome, f.Summary, c.want)
		}
	}
}

func TestNoticeInTime(t *testing.T) {
	item, _ := ByID("notices_loss")
	isLost := func(e history.Event) bool { return e.Op == history.OpLost }
	for _, c := range []struct {
		after time.Duration // after the resume; the lease is 2 s
		want  Outcome
	}{{100 * time.Millisecond, Pass}, {time.Second, Pass}, {time.Second + time.Millisecond, Warn}} {
		run := load(t, filepath.Join("testdata", "notices_loss", "pass"))
		var resumed time.Duration
		for _, e := range run.Histories[pauseHolder] {
			if e.Op == history.OpRevert && e.Type == history.OK {
				resumed = e.At
			}
		}
		run = edit(run, pauseHolder, isLost, func(e *history.Event) { e.At = resumed + c.after })
		if f := judge(item, run); f.Outcome != c.want {
			t.Errorf("%v after the resume: %s: %s", c.after, f.Outcome, f.Summary)
		}
	}
}

// TestNoticeWhenCutOff: a holder that runs can stop before B is granted the lock, and
// one that says it still holds after that is late, also where the pause went well.
func TestNoticeWhenCutOff(t *testing.T) {
	item, _ := ByID("notices_loss")
	isLost := func(e history.Event) bool { return e.Op == history.OpLost && e.Actor == "a" }
	load := func() (record.Run, time.Duration) {
		run := load(t, filepath.Join("testdata", "notices_loss", "pass"))
		for _, e := range run.Histories[cutHolder] {
			if e.Actor == "b" && e.Op == history.OpAcquire && e.Type == history.OK {
				return run, e.At
			}
		}
		t.Fatal("the fixture has no grant of B")
		return run, 0
	}
	for _, c := range []struct {
		after time.Duration // after B's grant; the lease is 2 s
		want  Outcome
		says  string
	}{
		{-time.Millisecond, Pass, "A noticed by itself"}, // the pause's trial is the worse one
		{time.Second, Pass, "after B was granted the lock"},
		{time.Second + time.Millisecond, Warn, "after B was granted the lock"},
	} {
		run, granted := load()
		run = alter(run, cutHolder, isLost, func(e *history.Event) { e.At = granted + c.after })
		for i := range run.Histories[cutHolder] { // in the order of the clock
			if e := &run.Histories[cutHolder][i]; isLost(*e) && c.after > 0 {
				e.Seq = len(run.Histories[cutHolder]) + 1
			}
		}
		if f := judge(item, run); f.Outcome != c.want || !strings.Contains(f.Summary, c.says) {
			t.Errorf("%v after B's grant: %s: %s", c.after, f.Outcome, f.Summary)
		}
	}
	run, granted := load()
	run = alter(run, cutHolder, isLost, func(e *history.Event) {
		holds := true
		e.Op, e.Type, e.Holding, e.At = history.OpStatus, history.OK, &holds, granted+1800*time.Millisecond
	})
	f := judge(item, run)
	if f.Outcome != Warn || !strings.Contains(f.Summary, "did not notice by itself within 1.8 s") {
		t.Errorf("holding after B's grant: %s: %s", f.Outcome, f.Summary)
	}
	if o, ok := BeliefOverlap(run); !ok || !o.Open || o.For != 1800*time.Millisecond || o.Probe != cutHolder {
		t.Errorf("belief: %+v", o)
	}
	delete(run.Histories, cutHolder)
	if f := judge(item, run); f.Outcome != Pass || !strings.Contains(f.Summary, "cut off was not tested") {
		t.Errorf("only paused: %s: %s", f.Outcome, f.Summary)
	}
}

func TestNoDoubleGrantNeedsAFault(t *testing.T) {
	item, _ := ByID("no_double_grant")
	run := load(t, filepath.Join("testdata", "no_double_grant", "pass"))
	run.Manifest.Probes[0].Completed = 0
	if f := judge(item, run); f.Outcome != Inconclusive || !strings.Contains(f.Summary, "not carried to its end") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

func TestUnorderedTokensFail(t *testing.T) {
	item, _ := ByID("tokens_increasing")
	run := load(t, filepath.Join("testdata", "tokens_increasing", "inconclusive"))
	run = edit(run, contend, func(e history.Event) bool { return e.Grant != nil }, func(e *history.Event) {
		e.Grant = &history.Grant{Token: history.Token{ID: "random-" + e.Actor}, TTL: e.Grant.TTL}
	})
	if f := judge(item, run); f.Outcome != Fail || !strings.Contains(f.Summary, "no number") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

// TestTakeoverAllowance: the lease plus max(1 s, half of it).
func TestTakeoverAllowance(t *testing.T) {
	item, _ := ByID("recovers_after_crash")
	for _, c := range []struct {
		took, ttl time.Duration
		want      Outcome
	}{
		{9 * time.Second, 2 * time.Second, Inconclusive}, {9*time.Second + 1, 2 * time.Second, Fail},
		{25 * time.Second, 10 * time.Second, Inconclusive}, {25*time.Second + 1, 10 * time.Second, Fail},
	} {
		run := load(t, filepath.Join("testdata", "recovers_after_crash", "inconclusive"))
		var killed time.Duration
		for _, e := range run.Histories[crashHolder] {
			if e.Op == history.OpKill && e.Type == history.OK {
				killed = e.At
			}
		}
		run = edit(run, crashHolder, op(history.OpAcquire), func(e *history.Event) {
			if e.Type == history.OK && e.Actor == "a" {
				g := *e.Grant
				g.TTL = c.ttl
				e.Grant = &g
			}
			if e.Type == history.OK && e.Actor == "b" {
				e.At = killed + c.took
			}
		})
		if f := judge(item, run); f.Outcome != c.want {
			t.Errorf("%v with a lease of %v: %s: %s", c.took, c.ttl, f.Outcome, f.Summary)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 300 * time.Microsecond: "under 1 ms", 12 * time.Millisecond: "12 ms", 999400 * time.Microsecond: "999 ms",
		999600 * time.Microsecond: "1.0 s", 2 * time.Second: "2 s", 3412 * time.Millisecond: "3.4 s", -12 * time.Millisecond: "-12 ms",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

func TestReproduceQuotes(t *testing.T) {
	for plan, want := range map[string]string{
		"": "lockaudit audit PLAN --probes contend", "a.yaml": "lockaudit audit a.yaml --probes contend",
		"my plan's.yaml": `lockaudit audit 'my plan'\''s.yaml' --probes contend`,
	} {
		if got := reproduce(record.Manifest{Subject: record.Subject{Plan: plan}}, contend); got != want {
			t.Errorf("%q: %s", plan, got)
		}
	}
}

// TestLockThatOutlivesItsHolder: still held long after the lease should have ended.
func TestLockThatOutlivesItsHolder(t *testing.T) {
	item, _ := ByID("recovers_after_crash")
	held := func(after time.Duration) record.Run {
		run := load(t, filepath.Join("testdata", "recovers_after_crash", "inconclusive"))
		run = edit(run, crashHolder, func(e history.Event) bool { return e.Actor == "b" }, nil)
		return edit(run, crashHolder, func(e history.Event) bool { return e.Holder != nil && !e.Holder.Held }, func(e *history.Event) {
			e.Holder, e.At = &history.Holder{Held: true}, e.At+after
		})
	}
	if f := judge(item, held(10*time.Second)); f.Outcome != Fail || !strings.Contains(f.Summary, "could not acquire within") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
	if f := judge(item, held(0)); f.Outcome != Inconclusive || f.Summary != "B never acquired after A was killed" {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

// stall adds to every trial of a probe that the auditor did not run for a second.
func stall(run record.Run, probe string) record.Run {
	events := run.Histories[probe]
	last := events[len(events)-1]
	s := history.Sample{Name: history.SampleStall, Unit: history.Nanoseconds, Count: 100, Max: int64(time.Second)}
	events = append(events[:len(events):len(events)], history.Event{
		Seq: last.Seq + 1, At: last.At, Trial: last.Trial, Actor: "auditor", Op: history.OpStall, Type: history.Info, Sample: &s,
	})
	run.Histories[probe] = events
	return run
}

// TestAStalledAuditorBlamesNobody: what it saw late may have been in time; what it
// saw in time was, and harm is harm.
func TestAStalledAuditorBlamesNobody(t *testing.T) {
	notice, _ := ByID("notices_loss")
	late := load(t, filepath.Join("testdata", "notices_loss", "pass"))
	delete(late.Histories, cutHolder)
	lost := func(e history.Event) bool { return e.Op == history.OpLost }
	slow := edit(late, pauseHolder, lost, func(e *history.Event) { e.At += 1500 * time.Millisecond })
	if f := judge(notice, slow); f.Outcome != Warn {
		t.Fatalf("late: %s: %s", f.Outcome, f.Summary)
	}
	if f := judge(notice, stall(slow, pauseHolder)); f.Outcome != Inconclusive || !strings.Contains(f.Summary, "did not run for 1 s") {
		t.Errorf("late, and the auditor stood still: %s: %s", f.Outcome, f.Summary)
	}
	if f := judge(notice, stall(late, pauseHolder)); f.Outcome != Pass {
		t.Errorf("in time though the auditor stood still: %s: %s", f.Outcome, f.Summary)
	}

	crash, _ := ByID("recovers_after_crash")
	taken := load(t, filepath.Join("testdata", "recovers_after_crash", "fail"))
	if f := judge(crash, taken); f.Outcome != Fail {
		t.Fatalf("takeover: %s: %s", f.Outcome, f.Summary)
	}
	if f := judge(crash, stall(taken, crashHolder)); f.Outcome != Inconclusive {
		t.Errorf("takeover, and the auditor stood still: %s: %s", f.Outcome, f.Summary)
	}

	// B never acquired at all, however long the probe waited.
	never := load(t, filepath.Join("testdata", "recovers_after_crash", "fail"))
	waited := func(e history.Event) bool { return e.Actor == "b" && e.Op == history.OpAcquire }
	never = edit(never, crashHolder, waited, nil)
	end := &never.Histories[crashHolder][len(never.Histories[crashHolder])-1]
	end.At += time.Minute
	if f := judge(crash, never); f.Outcome != Fail {
		t.Fatalf("never: %s: %s", f.Outcome, f.Summary)
	}
	if f := judge(crash, stall(never, crashHolder)); f.Outcome != Inconclusive {
		t.Errorf("never, and the auditor stood still: %s: %s", f.Outcome, f.Summary)
	}

	fencing, _ := ByID("fencing_enforced")
	if f := judge(fencing, stall(load(t, filepath.Join("testdata", "fencing_enforced", "fail")), pauseHolder)); f.Outcome != Fail || !f.Harm {
		t.Errorf("harm: %s: %s", f.Outcome, f.Summary)
	}
}

// TestARepeatedTrialStandsBehindNoPass, and the one that came after it does.
func TestARepeatedTrialStandsBehindNoPass(t *testing.T) {
	item, _ := ByID("notices_loss")
	run := load(t, filepath.Join("testdata", "notices_loss", "pass"))
	delete(run.Histories, cutHolder)
	for i := range run.Manifest.Probes {
		run.Manifest.Probes[i].Repeats = []record.Repeat{{Trial: 1, Why: "the auditor stood still"}}
	}
	if f := judge(item, run); f.Outcome != Inconclusive {
		t.Errorf("only the repeated trial: %s: %s", f.Outcome, f.Summary)
	}
	for i := range run.Histories[pauseHolder] {
		run.Histories[pauseHolder][i].Trial = 2
	}
	if f := judge(item, run); f.Outcome != Pass {
		t.Errorf("the trial after it: %s: %s", f.Outcome, f.Summary)
	}
}
