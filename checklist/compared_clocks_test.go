package checklist

import (
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// read is one clock in the history of an inspection.
type read struct {
	node, reader, kind string
	ahead, off         time.Duration
	err                string
}

// inspected is a run with an inspection that read these clocks, and with nothing else.
func inspected(wall *bool, ttl time.Duration, reads ...read) record.Run {
	run := record.Run{Facts: &facts.Deployment{WallClock: wall}}
	run.Manifest.Subject.TTL = ttl
	var events []history.Event
	for i, r := range reads {
		e := history.Event{Seq: i + 1, Trial: 1, Node: r.node, Case: r.kind, Op: history.OpClock, Type: history.OK, Actor: "agent"}
		if e.Clock = (&history.Clock{Ahead: r.ahead, Error: r.off, Reader: r.reader}); r.reader != "" {
			e.Actor = "observer"
		}
		if r.err != "" {
			e.Type, e.Clock, e.Err = history.Info, nil, r.err
		}
		events = append(events, e)
	}
	events = append(events, history.Event{Seq: len(reads) + 1, Trial: 1, Op: history.OpClock, Type: history.Invoke})
	run.Histories = map[string][]history.Event{inspect: events}
	return run
}

func TestServersClocksAreCompared(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	yes, no := true, false
	etcd := func(node string, ahead time.Duration) read { return read{node, "app-b", "", ahead, s / 2, ""} }
	node := func(name string, ahead time.Duration) read {
		return read{name, "", clockOfServer, ahead, ms, ""}
	}
	client := read{"app-b", "", "client node", 40 * ms, ms, ""}
	for name, c := range map[string]struct {
		run     record.Run
		outcome Outcome
		tested  bool
		summary string
		cites   int
	}{
		"etcd, together":                                     {inspected(&no, 2*s, etcd("e1", 0), etcd("e2", 300*ms), etcd("e3", -200*ms), client), Inconclusive, false, "the clocks of 3 lock servers differ by at most 1.5 s", 2},
		"etcd, a member 30 s ahead":                          {inspected(&no, 2*s, etcd("e1", 0), etcd("e2", 30*s), etcd("e3", s), client), Inconclusive, false, "the clocks of e1 and e2 differ by 30 s (±1 s), more than the second from which etcd's members warn each other, though no lease here depends on it", 2},
		"etcd, too coarse to be sure":                        {inspected(&no, 2*s, etcd("e1", 0), etcd("e2", 1900*ms), client), Inconclusive, false, "differ by at most 2.9 s", 2},
		"Redis, together":                                    {inspected(&yes, 10*s, read{"r1", "app-b", "", ms, ms, ""}, read{"r2", "app-b", "", 90 * ms, ms, ""}), Inconclusive, false, "the clocks of 2 lock servers differ by at most 91 ms", 2},
		"Redis, apart":                                       {inspected(&yes, 10*s, read{"r1", "app-b", "", 0, ms, ""}, read{"r2", "app-b", "", -105 * ms, ms, ""}), Warn, true, "the clocks of r1 and r2 differ by 105 ms (±2.00 ms), more than the 102 ms that Redlock allows clocks with a lease of 10 s", 2},
		"not known what leases go by":                        {inspected(nil, 10*s, read{"r1", "app-b", "", 0, ms, ""}, read{"r2", "app-b", "", s, ms, ""}), Warn, true, "differ by 1 s", 2},
		"the nodes' agents know better":                      {inspected(&yes, 2*s, etcd("e1", 0), etcd("e2", 0), node("n1", 0), node("n2", 0), node("n3", 50*ms)), Warn, true, "the clocks of 2 lock servers differ by at most 1 s; the clocks of n1 and n3 differ by 50 ms (±2.00 ms), more than the 22 ms", 4},
		"one server, against the auditor through its reader": {inspected(&yes, 2*s, read{"r1", "app-b", "", 3 * s, ms, ""}, client), Inconclusive, false, "against the auditor's clock, that of r1 is 3.0 s ahead, ±2.00 ms", 2},
		"one server, its reader unknown":                     {inspected(&yes, 2*s, read{"r1", "app-b", "", 3 * s, ms, ""}), Inconclusive, false, "against the clock of app-b, that of r1 is 3 s ahead", 1},
		"one node with an agent":                             {inspected(&yes, 2*s, node("n1", -s)), Inconclusive, false, "against the auditor's clock, that of n1 is 1 s behind", 1},
		"nothing is visible":                                 {inspected(&no, 2*s, client), Inconclusive, false, "no clock of a lock server can be seen", 0},
		"an agent does not answer":                           {inspected(&no, 2*s, node("n1", 0), node("n2", 0), read{node: "n3", kind: clockOfServer, err: "agent on node n3 not reachable"}), Inconclusive, false, "the clocks of 2 lock nodes differ by at most 2.00 ms; the clock of n3 could not be read: agent on node n3 not reachable", 2},
		"an older record":                                    {record.Run{Facts: &facts.Deployment{}}, Inconclusive, false, "not tested: needs clock-jump-lock-server", 0},
	} {
		item, _ := ByID("wall_clock_independent")
		f := judge(item, c.run)
		if f.Outcome != c.outcome || f.Tested != c.tested || !strings.Contains(f.Summary, c.summary) || len(f.Evidence) != c.cites {
			t.Errorf("%s: %s, tested %v, %d cited: %s\nwant %s, %v, %d, %q", name, f.Outcome, f.Tested, len(f.Evidence), f.Summary, c.outcome, c.tested, c.cites, c.summary)
		}
		if f.Outcome == Warn && (f.Reproduce != "lockaudit inspect PLAN" || f.Fix == "") {
			t.Errorf("%s: bad news without a way out: %q, %q", name, f.Reproduce, f.Fix)
		}
	}
}

// TestServersClocksBesideTheTrials: clocks that differ do not hide what a trial showed,
// nor does a trial that passed hide them.
func TestServersClocksBesideTheTrials(t *testing.T) {
	yes := true
	apart := inspected(&yes, 2*time.Second, read{"r1", "app-b", "", 0, 0, ""}, read{"r2", "app-b", "", time.Second, 0, ""})
	for fixture, want := range map[string]struct {
		outcome Outcome
		first   string
	}{
		"pass": {Warn, "the clocks of r1 and r2 differ"},
		"fail": {Fail, "A's lease of 2 s was over"},
	} {
		run := load(t, "testdata/wall_clock_independent/"+fixture)
		run.Facts, run.Histories[inspect] = apart.Facts, apart.Histories[inspect]
		item, _ := ByID("wall_clock_independent")
		f := judge(item, run)
		if f.Outcome != want.outcome || !strings.HasPrefix(f.Summary, want.first) || !strings.Contains(f.Summary, "r1 and r2 differ by 1 s") {
			t.Errorf("%s: %s: %s", fixture, f.Outcome, f.Summary)
		}
	}
}
