package checklist

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// TestClientQuorum: what makes a majority look larger than it is.
func TestClientQuorum(t *testing.T) {
	of := func(words ...string) facts.Deployment {
		d := facts.Deployment{Backend: "redlock", Quorum: len(words)/2 + 1}
		for i, w := range words {
			m := facts.Member{Endpoint: fmt.Sprintf("10.0.0.%d:6379", i+1), ID: w, Role: "master"}
			switch w {
			case "silent":
				m.ID, m.Role, m.Err = "", "", "refused"
			case "replica":
				m.Role = "slave"
			case "neighbour":
				m.Endpoint = "10.0.0.1:6380"
			}
			d.Members = append(d.Members, m)
		}
		return d
	}
	item, _ := ByID("not_single_instance")
	for _, c := range []struct {
		name string
		d    facts.Deployment
		want Outcome
		says string
	}{
		{"five", of("a", "b", "c", "d", "e"), Pass, "5 servers"},
		{"five, one of them silent", of("a", "b", "c", "d", "silent"), Pass, "1 member could not be read"},
		{"one for all", of("a", "a", "a", "b", "c"), Fail, "one server has the majority alone"},
		{"one twice", of("a", "b", "c", "d", "d"), Warn, "10.0.0.4:6379, 10.0.0.5:6379 are one server"},
		{"two on one machine", of("a", "neighbour", "c", "d", "e"), Warn, "10.0.0.1:6379, 10.0.0.1:6380 are on one machine"},
		{"four", of("a", "b", "c", "d"), Warn, "an even number, 4"},
		{"two", of("a", "b"), Warn, "does not survive the loss of one"},
		{"a replica among them", of("a", "b", "c", "d", "replica"), Warn, "10.0.0.5:6379 is a replica"},
		{"most of them silent", of("a", "b", "silent", "silent", "silent"), Inconclusive, "3 members could not be read"},
	} {
		run := record.Run{Facts: &c.d}
		if f := judge(item, run); f.Outcome != c.want || !strings.Contains(f.Summary, c.says) {
			t.Errorf("%s: %s: %s; want %s with %q", c.name, f.Outcome, f.Summary, c.want, c.says)
		}
	}
}

// TestClientQuorumIsNoConsensus, however many servers there are and whatever they keep.
func TestClientQuorumIsNoConsensus(t *testing.T) {
	yes, no := true, false
	item, _ := ByID("consensus_backed")
	d := facts.Deployment{Quorum: 3, Voters: 5, Durable: &yes, Evicts: &no, Members: make([]facts.Member, 5)}
	if f := judge(item, record.Run{Facts: &d}); f.Outcome != Fail || !strings.Contains(f.Summary, "3 votes of 5 servers") || strings.Contains(f.Summary, "on disk") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
	d.Durable = &no
	if f := judge(item, record.Run{Facts: &d}); f.Outcome != Fail || !strings.Contains(f.Summary, "a restart forgets it") {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

// TestClocksOfAMajority: servers whose clocks were left alone show the right time, and one
// that was to be wrong and shows it too has shown nothing.
func TestClocksOfAMajority(t *testing.T) {
	const alone = "https://10.77.0.13:2379" // on lock-3
	right := func(e *history.Event) bool {
		if e.Clock != nil && e.Node == alone {
			e.Clock = &history.Clock{Error: time.Millisecond}
		}
		return true
	}
	untouched := func(e *history.Event) bool {
		return right(e) && !(e.Op == history.OpInject && e.Node == "lock-3")
	}
	item, _ := ByID("wall_clock_independent")
	for name, c := range map[string]struct {
		change func(*history.Event) bool
		want   Outcome
	}{"two of three were made wrong": {untouched, Pass}, "all were, and one shows the right time": {right, Inconclusive}} {
		if f := judge(item, edited(t, "pass", jumpServer, c.change)); f.Outcome != c.want {
			t.Errorf("%s: %s: %s, want %s", name, f.Outcome, f.Summary, c.want)
		}
	}
}

// TestNodeTimeout: 5 to 50 ms for a lease of 10 s, and above the round trips.
func TestNodeTimeout(t *testing.T) {
	for _, c := range []struct {
		wait, tail time.Duration
		says       string
	}{
		{50 * time.Millisecond, time.Millisecond, ""},
		{5 * time.Millisecond, time.Millisecond, ""},
		{500 * time.Millisecond, time.Millisecond, "costs each acquire 500 ms"},
		{4 * time.Millisecond, time.Millisecond, "wait only 4.00 ms"},
		{20 * time.Millisecond, 30 * time.Millisecond, "are counted as lost"},
		{0, time.Millisecond, ""},
	} {
		d := facts.Deployment{Quorum: 3, NodeTimeout: c.wait}
		if got := nodeTimeout(&d, 10*time.Second, c.tail); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s with round trips of %s: %q, want %q", c.wait, c.tail, got, c.says)
		}
	}
	if got := nodeTimeout(&facts.Deployment{NodeTimeout: time.Hour}, time.Second, 0); got != "" {
		t.Errorf("clients that count no votes: %q", got)
	}
}
