package checklist

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/record"
)

func fencingEnforced() Item {
	return Item{
		ID:       "fencing_enforced",
		Question: "are fencing tokens enforced by the resource?",
		Why:      "A holder that was paused longer than its lease does not know that it lost the lock, and writes. Only the resource itself can stop that write.",
		Severity: Critical,
		Probes:   []string{pauseHolder, cutHolder, delayWrite, tokenBattery},
		Fencing:  true,
		Fix: map[string]string{
			"etcd":      "Send the lock key's CreateRevision with every write and let the resource refuse what is below the highest it has accepted, in the same transaction as the write (UPDATE … WHERE fence <= :token, row count checked). If the data is in etcd itself: a Txn that compares the lock key's CreateRevision.",
			"nats":      "Send the revision that Create returned, not that of a renewal, with every write, and have the resource refuse what is below the highest it has accepted, in the same step as the write. Revisions increase as long as the bucket is not made anew.",
			"postgres":  "Take the token from a sequence in the statement that takes the lease (an advisory lock has none: draw one after it is granted), and write with UPDATE … SET …, fence = :token WHERE id = :id AND fence <= :token, one statement, row count checked. A SELECT of the fence before the UPDATE is no fencing at READ COMMITTED.",
			"redlock":   "Redlock has no number to fence with: its value is random, and five independent counters are none. Take the number from the resource itself (a row that each holder raises in one conditional statement, before it works), or use a lock service whose grants are numbered.",
			"redis":     "SET NX hands out a random value, which says who but not since when. Mint a number with INCR in the Lua script that acquires, send it with every write, and let the resource refuse what is below the highest it has accepted; or move the lock to a consensus system whose grants are numbered.",
			"zookeeper": "Send the czxid of the lock's node with every write and let the resource refuse what is below the highest it has accepted, in the same transaction as the write; the number in the node's name begins anew when the directory was removed. If the data is in ZooKeeper itself: a multi that checks a version.",
			"":          "Send the lock's ordered token with every write and let the resource refuse, atomically with the write, what is below the highest token that it has accepted. Equality with the last writer's token is not enough.",
		},
		Judge: judgeFencing,
	}
}

// judgeFencing: the five steps decide, and the battery can only make it worse. Its
// warning alone is no verdict, because no late holder was seen.
func judgeFencing(run record.Run) Finding {
	f := judgeStaleWrites(run)
	switch d := judgeDelayedWrites(run); {
	case d.Outcome == Pass && f.Outcome == Pass:
		f.Summary += ", and so was one that the network delivered late"
		f.Evidence = append(f.Evidence, d.Evidence...)
		f.Trials = Trials{f.Trials.Shown + d.Trials.Shown, f.Trials.Of + d.Trials.Of}
	case d.Outcome > f.Outcome, d.Harm && !f.Harm:
		f = d
	}
	results := judgeBattery(run)
	for _, r := range results {
		worse := r.outcome > f.Outcome || r.harm && !f.Harm
		if !worse || r.outcome == Warn && f.Outcome != Pass {
			continue
		}
		f = Finding{
			Outcome: r.outcome, Harm: r.harm, Summary: r.summary, Evidence: r.evidence,
			Trials: Trials{Shown: shownIn(results, r.summary), Of: len(trials(run, tokenBattery))},
		}
	}
	return f
}

// judgeStaleWrites judges the five steps, with a pause and with a partition: was
// the stale write refused, and only it?
func judgeStaleWrites(run record.Run) Finding {
	kept, steps := allKeptOff(run)
	f := judgeLetThrough(steps)
	if len(kept) == 0 {
		return f
	}
	// What the application does decides; lock clients of the audit's own can make it worse.
	if k := judgeKeptOff(run, kept); f.Outcome != Fail || k.Outcome == Fail && !f.Harm {
		return k
	}
	return f
}

// judgeLetThrough judges the trials in which A could write.
func judgeLetThrough(steps []fiveSteps) Finding {
	f := Finding{Summary: pauseHolder + " was not run", Trials: Trials{Of: len(steps)}}
	worst, survived := unclear, map[string]bool{}
	for _, s := range steps {
		e := s.effect()
		if e == fenced && !s.complete {
			e = unclear
		}
		if e == unclear && worst == unclear {
			f.Summary = s.whyUnclear()
			f.Evidence = s.timeline("")
		}
		if e == unclear || e < worst {
			continue
		}
		if e > worst {
			worst, f.Trials.Shown = e, 0
			f.Evidence = s.timeline(staleNote(s, e))
		}
		f.Trials.Shown++
		survived[s.fault.kind] = true
	}
	switch worst {
	case fenced:
		faults := strings.Join(slices.Sorted(maps.Keys(survived)), " and after a ")
		f.Outcome, f.Summary = Pass, fmt.Sprintf("after a %s that outlived its lease, A's stale write was tried and refused", faults)
	case lockedOut:
		f.Outcome, f.Summary = Fail, "the rightful holder B was refused as well as A: nobody could write"
	case inverted:
		f.Outcome, f.Harm, f.Summary = Fail, true, "the resource refused the rightful holder B and afterwards accepted A's stale write"
	case harmed:
		f.Outcome, f.Harm, f.Summary = Fail, true, "the resource accepted A's stale write after B, the rightful holder, had written"
	}
	return f
}

func (s fiveSteps) whyUnclear() string {
	missing, ok := s.danger()
	switch {
	case !ok:
		return missing
	case !s.complete:
		return "the trial was not carried to its end"
	}
	return "the outcome of the trial is not clear"
}

func staleNote(s fiveSteps, e effect) string {
	note := "stale"
	if s.bWrite != nil && s.bWrite.Invoke.Write != nil && !s.bWrite.Invoke.Write.Token.IsZero() {
		verb := "had written"
		if e == inverted || e == lockedOut {
			verb = "was refused"
		}
		note = fmt.Sprintf("stale: B %s with token %s", verb, short(s.bWrite.Invoke.Write.Token))
	}
	return note
}
