package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func tokensIncreasing() Item {
	return Item{
		ID:       "tokens_increasing",
		Question: "are tokens unique and increasing across holders, failover, restart and restore?",
		Why:      "A resource can only refuse an old holder whose number is lower. A token that repeats or goes back locks the right one out and lets the wrong one in.",
		Severity: Critical,
		Probes: []string{
			tokenBattery, isolateLeader, pauseHolder, cutHolder, crashHolder, contend,
			loseNode, partServers, doubleExecution, lostUpdate, replayOperation,
		},
		Fencing: true,
		Fix: map[string]string{
			"etcd":  "Use the CreateRevision of the lock key, one session per holder, and restore snapshots with --bump-revision and --mark-compacted.",
			"redis": "Mint the token with INCR in the Lua script that acquires, on a server that keeps it (appendonly yes, appendfsync always); a random value has no order.",
			"":      "Take the token from the service's own replicated counter or log index, never from a clock or a random source.",
		},
		Judge: judgeTokens,
	}
}

// judgeTokens fails on what it sees and otherwise does not pass: across restart
// and restore no probe has looked yet, and these are where tokens go back.
func judgeTokens(run record.Run) Finding {
	w := joined(run)
	if found := history.CheckTokens(w.events); len(found) > 0 {
		what := "a later grant carries a lower token"
		if found[0].Fault == history.DuplicateToken {
			what = "two grants carry the same token"
		}
		return Finding{Outcome: Fail, Summary: what + ": " + count(len(found), "pair"), Evidence: w.cite(found[0].Seqs()...)}
	}
	ordered, unordered, sample := 0, 0, []int{}
	for _, e := range w.events {
		switch {
		case e.Op != history.OpAcquire || e.Type != history.OK || e.Grant == nil:
			continue
		case e.Grant.Token.Order == nil:
			unordered++
		default:
			ordered++
		}
		if len(sample) < 3 {
			sample = append(sample, e.Seq)
		}
	}
	f := Finding{Evidence: w.cite(sample...)}
	switch {
	case unordered > 0:
		f.Outcome, f.Summary = Fail, fmt.Sprintf("%s of %d carry no number that could be compared", count(unordered, "grant"), ordered+unordered)
	case ordered < 2:
		f.Summary = "fewer than two grants to compare"
	default:
		f.Summary = fmt.Sprintf("across holders: increasing, %d tokens; failover, restart and restore were not tested", ordered)
		if evidence := failover(run); len(evidence) > 0 {
			f.Evidence = append(f.Evidence, evidence...)
			f.Summary = fmt.Sprintf("across holders and a failover: increasing, %d tokens; restart and restore were not tested", ordered)
		}
	}
	return f
}

// failover cites a trial in which the leader was cut off and another one, which
// the service itself named, granted the lock afterwards.
func failover(run record.Run) []Evidence {
	for _, t := range trials(run, isolateLeader) {
		before := t.first(0, "a", history.OpAcquire, granted)
		cut := t.first(end(before), "agent", history.OpInject, ok)
		old, fresh := t.leaders(end(cut))
		if before == nil || cut == nil || old == nil || fresh == nil || old.Node == fresh.Node || !t.complete {
			continue
		}
		after := t.first(fresh.Seq, "b", history.OpAcquire, granted)
		if after == nil {
			continue
		}
		out := append(t.cite(before, ""), t.quote(*old, "")...)
		out = append(append(out, t.cite(cut, "")...), t.quote(*fresh, "after the failover")...)
		return append(out, t.cite(after, "")...)
	}
	return nil
}

// leaders are the last one named up to an event, and the last one after it.
func (t trial) leaders(seq int) (before, after *history.Event) {
	for i, e := range t.events {
		switch {
		case e.Op != history.OpLead:
		case e.Seq <= seq:
			before = &t.events[i]
		default:
			after = &t.events[i]
		}
	}
	return before, after
}
