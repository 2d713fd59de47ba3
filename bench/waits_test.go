package main

import (
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// script makes a history of calls: each takes 10 ms from the time that is given.
type script struct{ events []history.Event }

func (s *script) call(at float64, e history.Event, took time.Duration) {
	e.Trial, e.At = 1, time.Duration(at*float64(time.Second))
	done := e
	e.Type, e.Grant, e.Holder = history.Invoke, nil, nil
	e.Seq = len(s.events) + 1
	done.Seq, done.Call, done.At = e.Seq+1, e.Seq, e.At+took
	s.events = append(s.events, e, done)
}

// TestWaitsAreTheKnownOnes reads them out of a history whose waits are known.
func TestWaitsAreTheKnownOnes(t *testing.T) {
	const quick = 10 * time.Millisecond
	grant := &history.Grant{TTL: 5 * time.Second}
	cut := &history.Fault{Kind: "partition", Node: "n"}
	acquire := func(actor string, typ history.Type) history.Event {
		e := history.Event{Actor: actor, Op: history.OpAcquire, Type: typ}
		if typ == history.OK {
			e.Grant = grant
		}
		return e
	}
	look := func(held bool) history.Event {
		return history.Event{Actor: "observer", Op: history.OpObserve, Type: history.OK, Holder: &history.Holder{Held: held}}
	}
	fault := func(op history.Op) history.Event {
		return history.Event{Actor: "agent", Op: op, Type: history.OK, Fault: cut}
	}

	var holder script // granted at 1, lease over at 6.5
	holder.call(1, acquire("a", history.OK), quick)
	holder.call(2, look(true), quick)
	holder.call(6.5, look(false), quick)
	holder.call(6.6, acquire("b", history.OK), quick)

	var sides script // cut at 10, a new leader grants at 13, healed at 15.5, serves at 16
	sides.call(10, fault(history.OpInject), quick)
	sides.call(10.1, acquire("a", history.Info), 2*time.Second)
	sides.call(10.1, acquire("b", history.Info), 2*time.Second)
	sides.call(12.1, acquire("b", history.OK), 900*time.Millisecond)
	sides.call(12.1, acquire("a", history.Info), 3*time.Second)
	sides.call(15.5, fault(history.OpRevert), quick)
	sides.call(16, look(false), quick)

	var ready script // it grants at once when it is asked again
	ready.call(20, fault(history.OpInject), quick)
	ready.call(20.1, acquire("a", history.Info), 2*time.Second)
	ready.call(20.2, acquire("b", history.Info), 2*time.Second)
	ready.call(22.3, acquire("b", history.OK), quick)
	ready.call(24.81, fault(history.OpRevert), quick)

	var clock script // the servers' clocks step at 30, B tries at 34
	stepped := fault(history.OpInject)
	stepped.Fault = &history.Fault{Kind: "clock", Target: "the lock server"}
	clock.call(29, acquire("a", history.OK), quick)
	clock.call(30, stepped, quick)
	clock.call(34, acquire("b", history.Fail), quick)
	stepped.Op = history.OpRevert
	clock.call(34.1, stepped, quick)

	run := record.Run{Histories: map[string][]history.Event{
		"pause-holder-past-ttl": holder.events, "partition-lock-servers": sides.events, "double-execution": ready.events,
		"clock-drift": clock.events,
	}}
	run.Manifest.Subject.TTL = 5 * time.Second
	total, byKind := covered(waits(run))
	want := map[string]time.Duration{
		"lease":    5510 * time.Millisecond,            // 1 to 6.51
		"election": (2990 + 190) * time.Millisecond,    // 10.01 to 13, and 20.01 to 20.2
		"asking":   (2500 + 2*1250) * time.Millisecond, // 13 to 15.5, and 22.31 to 24.81
		"watch":    3990 * time.Millisecond,            // 30.01 to 34
		"recovery": 500 * time.Millisecond,             // 15.51 to 16.01
	}
	sum := time.Duration(0)
	for kind, d := range want {
		if byKind[kind] != d {
			t.Errorf("%s: %s, want %s", kind, byKind[kind], d)
		}
		sum += d
	}
	if total != sum || len(byKind) != len(want) {
		t.Errorf("together %s, want %s: %v", total, sum, byKind)
	}
}

// TestWaitsThatOverlapCountOnce.
func TestWaitsThatOverlapCountOnce(t *testing.T) {
	total, byKind := covered([]wait{{"lease", 0, 5}, {"window", 2, 4}, {"notice", 4, 9}, {"lease", 20, 21}})
	if total != 10 || byKind["lease"] != 6 || byKind["window"] != 0 || byKind["notice"] != 4 {
		t.Errorf("%d %v", total, byKind)
	}
}
