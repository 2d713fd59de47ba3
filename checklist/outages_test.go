package checklist

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// The histories of these tests are real ones: three etcd servers that were killed
// and started again, and a single Redis.
func survivedRun(t *testing.T) record.Run {
	return load(t, filepath.Join("testdata", "tokens_increasing", "pass"))
}

func forgottenRun(t *testing.T) record.Run {
	return load(t, filepath.Join("testdata", "no_double_grant", "restart"))
}

func judged(run record.Run, id string) Finding {
	item, _ := ByID(id)
	return judge(item, run)
}

func isCrash(o history.Op, node string) func(history.Event) bool {
	return func(e history.Event) bool {
		return e.Op == o && e.Type == history.OK && e.Fault != nil && e.Fault.Kind == serverCrash && (node == "" || e.Fault.Node == node)
	}
}

// TestTokensPassOnlyWhatWasShown: each part that is missing is named, and none of
// them passes for the others.
func TestTokensPassOnlyWhatWasShown(t *testing.T) {
	unknown := is(history.Info, history.CodeTimeout)
	for name, c := range map[string]struct {
		change func(record.Run) record.Run
		want   Outcome
		says   string
	}{
		"unchanged": {func(r record.Run) record.Run { return r }, Pass,
			"across holders, a failover and a restart of 3 servers: increasing"},
		"restore is not claimed": {func(r record.Run) record.Run { return r }, Pass, "restore of a snapshot was not tested"},
		"no failover": {func(r record.Run) record.Run { delete(r.Histories, crashPrimary); return r }, Inconclusive,
			"failover and restore of a snapshot were not tested"},
		"the same leader again": {func(r record.Run) record.Run {
			return alter(r, crashPrimary, op(history.OpLead), func(e *history.Event) { e.Node = "lock-1" })
		}, Inconclusive, "failover and"},
		"no restart": {func(r record.Run) record.Run { delete(r.Histories, restartServer); return r }, Inconclusive,
			"restart and restore of a snapshot were not tested"},
		"one server was not seen again": {func(r record.Run) record.Run {
			return alter(r, restartServer, isCrash(history.OpRevert, "lock-2"), unknown)
		}, Inconclusive, "restart of every server (2 of 3 were)"},
		"one server was not killed": {func(r record.Run) record.Run {
			return alter(r, restartServer, isCrash(history.OpInject, "lock-3"), unknown)
		}, Inconclusive, "restart of every server (2 of 3 were)"},
		"nobody counted the servers": {func(r record.Run) record.Run { r.Facts = nil; return r }, Inconclusive, "restart and"},
		"B was not granted it afterwards": {func(r record.Run) record.Run {
			return alter(r, restartServer, by("b", done(op(history.OpAcquire))), unknown)
		}, Inconclusive, "restart"},
		"the trial was cut off": {func(r record.Run) record.Run {
			for i := range r.Manifest.Probes {
				r.Manifest.Probes[i].Completed = 0
			}
			return r
		}, Inconclusive, "failover, restart and restore"},
		"a token that went back": {func(r record.Run) record.Run {
			return alter(r, restartServer, by("b", done(op(history.OpAcquire))), func(e *history.Event) {
				if e.Type == history.OK {
					e.Grant = &history.Grant{Token: history.OrderedToken(1), TTL: e.Grant.TTL}
				}
			})
		}, Fail, "a later grant carries a lower token"},
		"a single server has nobody to fail over to": {func(r record.Run) record.Run {
			r.Facts = &facts.Deployment{Members: []facts.Member{{Endpoint: "x:1", ID: "i"}}}
			delete(r.Histories, crashPrimary)
			return r
		}, Pass, "across holders and a restart of 1 server: increasing"},
	} {
		t.Run(name, func(t *testing.T) {
			f := judged(c.change(survivedRun(t)), "tokens_increasing")
			if f.Outcome != c.want || !strings.Contains(f.Summary, c.says) {
				t.Errorf("%s: %s, want %s: %s", f.Outcome, f.Summary, c.want, c.says)
			}
		})
	}
}

// TestForgottenLock: B, refused before, was granted the lock within A's lease after
// the server had been killed. Nothing less is called forgotten.
func TestForgottenLock(t *testing.T) {
	acquireB := by("b", done(op(history.OpAcquire)))
	first := func(e history.Event) bool { return acquireB(e) && e.Code == history.CodeHeld }
	for name, c := range map[string]struct {
		change    func(record.Run) record.Run
		double    Outcome
		forgotten bool
	}{
		"unchanged": {func(r record.Run) record.Run { return r }, Fail, true},
		"B was never refused: two stores": {func(r record.Run) record.Run {
			return alter(r, restartServer, first, is(history.Info, history.CodeTimeout))
		}, Fail, false},
		"nobody saw the death": {func(r record.Run) record.Run {
			return alter(r, restartServer, isCrash(history.OpInject, ""), is(history.Info, history.CodeTimeout))
		}, Fail, false},
		"A's lease was over": {func(r record.Run) record.Run {
			return alter(r, restartServer, func(e history.Event) bool { return e.Grant != nil && e.Actor == "a" }, func(e *history.Event) { e.Grant.TTL = 1 })
		}, Inconclusive, false},
	} {
		t.Run(name, func(t *testing.T) {
			run := c.change(forgottenRun(t))
			// As if the service had said that it keeps locks by consensus.
			run.Facts = &facts.Deployment{Consensus: "raft", Voters: 3}
			f := judged(run, "no_double_grant")
			if f.Outcome != c.double || f.Harm != (c.double == Fail) || strings.Contains(f.Summary, "forgotten when the server on lock-1") != c.forgotten {
				t.Errorf("no_double_grant: %s, harm %v: %s", f.Outcome, f.Harm, f.Summary)
			}
			want := Pass
			if c.forgotten {
				want = Fail
			}
			f = judged(run, "consensus_backed")
			if f.Outcome != want || strings.Contains(f.Summary, "forgotten") != c.forgotten {
				t.Errorf("consensus_backed: %s: %s", f.Outcome, f.Summary)
			}
		})
	}
}

// TestKeptLock: it was kept only if B was refused while A certainly held.
func TestKeptLock(t *testing.T) {
	says := func(r record.Run) string { return judged(r, "consensus_backed").Summary }
	if s := says(survivedRun(t)); !strings.Contains(s, "kept through a restart of lock-") {
		t.Error(s)
	}
	run := alter(survivedRun(t), restartServer, by("b", done(op(history.OpAcquire))), func(e *history.Event) { e.Code = history.CodeRefused })
	if s := says(run); strings.Contains(s, "kept through") {
		t.Errorf("refused for another reason: %s", s)
	}
	run = alter(survivedRun(t), restartServer, func(e history.Event) bool { return e.Actor == "a" && e.Grant != nil }, func(e *history.Event) { e.Grant.TTL = 1 })
	run = alter(run, restartServer, by("a", op(history.OpRelease)), is(history.Fail, history.CodeLost))
	if s := says(run); strings.Contains(s, "kept through") {
		t.Errorf("A may not have held it any more: %s", s)
	}
}
