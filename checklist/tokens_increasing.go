package checklist

import (
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func tokensIncreasing() Item {
	return Item{
		ID:       "tokens_increasing",
		Question: "are tokens unique and increasing across holders, failover and restart?",
		Why:      "A resource can only refuse an old holder whose number is lower. A token that repeats or goes back locks the right one out and lets the wrong one in.",
		Severity: Critical,
		Probes: []string{
			tokenBattery, isolateLeader, crashPrimary, restartServer, pauseHolder, cutHolder, crashHolder, contend,
			loseNode, partServers, doubleExecution, lostUpdate, replayOperation,
		},
		Fencing: true,
		Fix: map[string]string{
			"etcd":      "Use the CreateRevision of the lock key, one session per holder, and restore snapshots with --bump-revision and --mark-compacted.",
			"nats":      "Keep the bucket: one that is deleted and made anew starts at 1, and so does one restored from an older backup. Take the token from Create.",
			"postgres":  "Draw the token with nextval in the statement that takes the lease, where the row is locked (not in the VALUES of an INSERT that may wait), from a sequence with CACHE 1 and NO CYCLE beside a logged table; an advisory lock has no token at all. An asynchronous standby that is promoted can hand out numbers again: synchronous_standby_names.",
			"redlock":   "Redlock's value is random and has no order, and no counter on independent servers gets one. Number the grants where the data is, or use a lock service that numbers them.",
			"redis":     "Mint the token with INCR in the Lua script that acquires, on a server that keeps it (appendonly yes, appendfsync always); a random value has no order.",
			"zookeeper": "Use the czxid of the lock's node, which grows across elections and restarts, and not the number in its name.",
			"":          "Take the token from the service's own replicated counter or log index, never from a clock or a random source.",
		},
		Judge: judgeTokens,
	}
}

// judgeTokens fails on what it sees, and passes only what was shown across holders,
// a failover and a restart of every server: these are where tokens go back. The
// restore of a snapshot is another such place. It cannot be rehearsed on somebody's
// live service, so it is not asked, and each summary says so.
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
		case observedApplication(run) && e.Grant.Token.IsZero():
			continue // it was seen from outside, where no token shows
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
	case ordered == 0 && observedApplication(run):
		f.Summary = "which tokens the application's grants carry cannot be seen from outside"
	case ordered < 2:
		f.Summary = "fewer than two grants to compare"
	default:
		f.judgeParts(run, ordered)
	}
	return f
}

// judgeParts says across what the tokens were seen to increase, and passes if
// nothing that is asked is missing.
func (f *Finding) judgeParts(run record.Run, tokens int) {
	shown, missing := []string{"holders"}, []string{}
	n := servers(run)
	failed := failover(run)
	switch {
	case failed != nil:
		shown = append(shown, "a failover")
	case n == 1: // there is nobody to fail over to
	default:
		missing = append(missing, "failover")
	}
	seen, restarts := restarted(run, n)
	switch {
	case restarts != nil:
		shown = append(shown, "a restart of "+count(n, "server"))
	case seen > 0 && n > 0:
		missing = append(missing, fmt.Sprintf("restart of every server (%d of %d were)", seen, n))
	default:
		missing = append(missing, "restart")
	}
	f.Evidence = append(append(f.Evidence, failed...), restarts...)
	f.Summary = fmt.Sprintf("across %s: increasing, %d tokens; ", list(shown), tokens)
	if len(missing) == 0 {
		f.Outcome = Pass
		f.Summary += "restore of a snapshot was not tested"
		return
	}
	f.Summary += list(append(missing, "restore of a snapshot")) + " were not tested"
}

// list is "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// failover cites a trial in which the leader was killed or cut off and another one,
// which the service itself named, granted the lock afterwards.
func failover(run record.Run) []Evidence {
	for _, t := range append(trials(run, crashPrimary), trials(run, isolateLeader)...) {
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
