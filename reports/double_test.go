package reports

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// judgedRun is a run with its report.
type judgedRun struct {
	name   string
	run    record.Run
	report Report
}

// everyRun is every fixture, and the run that has everything a report can show.
func everyRun(t *testing.T) []judgedRun {
	t.Helper()
	var all []judgedRun
	for _, name := range runs {
		run, err := record.Load(filepath.Join("testdata", "runs", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, judgedRun{name, run, report(t, name)})
	}
	run, r := doubleRun(t)
	waived, w := waivedRun(t)
	return append(all, judgedRun{"double-run", run, r}, judgedRun{"waived", waived, w})
}

// waivedRun is etcd-unfenced whose plan names an owner and a waiver of each kind: one that
// covers harm, one that ended the day before, one of what passes and one of what was not
// tested.
func waivedRun(t *testing.T) (record.Run, Report) {
	t.Helper()
	run, err := record.Load(filepath.Join("testdata", "runs", "etcd-unfenced"))
	if err != nil {
		t.Fatal(err)
	}
	s := &run.Manifest.Subject
	s.Owner = record.Owner{Team: "billing", Contact: "#billing-oncall"}
	day := func(days int) string { return run.Manifest.Started.AddDate(0, 0, days).Format(time.DateOnly) }
	s.Waivers = []record.Waiver{
		{Item: "fencing_enforced", Owner: "jane", Reason: "release 7 brings the fencing column", Until: day(0)},
		{Item: "not_ttl_only", Owner: "joe", Reason: "the client library is replaced", Until: day(-1)},
		{Item: "consensus_backed", Owner: "joe", Reason: "three nodes are on order", Until: day(30)},
		{Item: "tls_and_auth", Owner: "joe", Reason: "a private network", Until: day(30)},
	}
	findings := checklist.Judge(run)
	return run, New(run, findings, checklist.GradeOf(findings, run))
}

// doubleRun is redis-single in which the hourly job also ran twice under a partition,
// and with measurements.
func doubleRun(t *testing.T) (record.Run, Report) {
	t.Helper()
	run, err := record.Load(filepath.Join("testdata", "runs", "redis-single"))
	if err != nil {
		t.Fatal(err)
	}
	const probe = "double-execution"
	run.Histories[probe] = doubleExecution()
	run.Histories["measure-network"] = measured()
	run.Manifest.Probes = append(run.Manifest.Probes, record.Probe{Name: probe, Status: record.Ran, Trials: 1, Completed: 1})
	findings := checklist.Judge(run)
	for i := range findings {
		f := &findings[i]
		if f.Item != effectsItem {
			continue
		}
		f.Outcome, f.Harm, f.Tested = checklist.Fail, true, true
		f.Summary = "the job ran twice: both sides of the partition were granted the lock and executed it"
		f.Fix = "Enforce fencing tokens at the resource, and make read-modify-write one conditional statement."
		f.Trials = checklist.Trials{Shown: 1, Of: 1}
		f.Reproduce = "lockaudit audit plan.yaml --probes double-execution"
		f.Evidence = nil
		for _, e := range run.Histories[probe] {
			if e.Type == history.OK && e.Op != history.OpStep {
				f.Evidence = append(f.Evidence, checklist.Evidence{
					Probe: probe, Trial: 1, Seq: e.Seq, At: e.At, Actor: e.Actor, Text: fmt.Sprintf("%s → %s", e.Op, e.Type),
				})
			}
		}
	}
	return run, New(run, findings, checklist.GradeOf(findings, run))
}

// doubleExecution: client a is cut off on one side, both are granted, both execute.
func doubleExecution() []history.Event {
	fault := &history.Fault{ID: "f1", Kind: "partition", Node: "app-a", For: 10 * time.Second}
	var events []history.Event
	at := 20 * time.Second
	add := func(after time.Duration, e history.Event) {
		at += after
		e.Seq, e.At, e.Trial = len(events)+1, at, 1
		if e.Type == history.OK && e.Op != history.OpStep {
			invoke := e
			invoke.Type, invoke.At, invoke.Grant = history.Invoke, at-2*time.Millisecond, nil
			events = append(events, invoke)
			e.Seq, e.Call = invoke.Seq+1, invoke.Seq
		}
		events = append(events, e)
	}
	grant := func(id string) *history.Grant {
		return &history.Grant{Token: history.Token{ID: id}, TTL: 2 * time.Second}
	}
	write := func(id string) *history.Write {
		return &history.Write{Token: history.Token{ID: id}, Value: "job-1"}
	}
	add(0, history.Event{Actor: "probe", Op: history.OpStep, Type: history.Info, Step: "1 cut the sides from each other"})
	add(10*time.Millisecond, history.Event{Actor: "agent", Node: "app-a", Op: history.OpInject, Type: history.OK, Fault: fault})
	add(10*time.Millisecond, history.Event{Actor: "a", Node: "app-a", Op: history.OpAcquire, Type: history.OK, Key: "k", Grant: grant("5d1f0a9c77e2")})
	add(10*time.Millisecond, history.Event{Actor: "a", Node: "app-a", Op: history.OpWrite, Type: history.OK, Row: "job", Write: write("5d1f0a9c77e2")})
	add(300*time.Millisecond, history.Event{Actor: "b", Node: "app-b", Op: history.OpAcquire, Type: history.OK, Key: "k", Grant: grant("0be64c1d9a33")})
	add(10*time.Millisecond, history.Event{Actor: "b", Node: "app-b", Op: history.OpWrite, Type: history.OK, Row: "job", Write: write("0be64c1d9a33")})
	add(500*time.Millisecond, history.Event{Actor: "agent", Node: "app-a", Op: history.OpRevert, Type: history.OK, Fault: fault})
	return events
}

func measured() []history.Event {
	sample := func(name, node, peer string, values ...time.Duration) history.Event {
		s := history.NewSample(name, values, 5*time.Second)
		s.Node, s.Peer, s.Source = node, peer, "tcp connect"
		return history.Event{Actor: "agent", Node: node, Op: history.OpMeasure, Type: history.Info, Sample: &s}
	}
	events := []history.Event{
		sample(history.SampleRTT, "app-a", "10.77.0.11:6379", 300*time.Microsecond, 400*time.Microsecond, 9*time.Millisecond),
		sample(history.SampleRTT, "app-b", "10.77.0.11:6379", 350*time.Microsecond, 420*time.Microsecond, 700*time.Microsecond),
		sample(history.SamplePause, "app-a", "", time.Millisecond, 4*time.Millisecond, 2600*time.Millisecond),
		sample(history.SamplePause, "app-b", "", time.Millisecond, 2*time.Millisecond, 30*time.Millisecond),
		sample(history.SampleAcquire, "app-a", "", 700*time.Microsecond, 900*time.Microsecond, 12*time.Millisecond),
	}
	for i := range events {
		events[i].Seq, events[i].At = i+1, time.Duration(i)*time.Second
	}
	return events
}
