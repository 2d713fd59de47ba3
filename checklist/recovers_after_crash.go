package checklist

import (
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func recoversAfterCrash() Item {
	return Item{
		ID:       "recovers_after_crash",
		Question: "does the lock recover after a holder's crash and after silent node loss?",
		Why:      "A lock that outlives its dead holder stops the work that it was made to protect.",
		Severity: Major,
		Probes:   []string{crashHolder, loseNode},
		Fix: map[string]string{
			"etcd":  "Tie the key to a lease (concurrency.NewSession does) and keep the TTL at the takeover time that the business accepts; a key without a lease stays for ever.",
			"redis": "Set the key and its expiry in one command (SET key value NX PX ttl): a crash between SETNX and EXPIRE leaves it for ever.",
			"":      "Give every lock a lease that ends without its holder's help, no longer than the takeover time that the business accepts.",
		},
		Judge: judgeCrash,
	}
}

const loseNode = "lose-node"

// takeoverSlack is how far beyond the lease a takeover may come: another lease,
// because Consul may keep a session for twice its TTL and a new etcd leader
// extends every lease once, and 5 s for the takeover itself, the longest that the
// probe lets a single call take. Less would blame the lock for a busy machine.
func takeoverSlack(ttl time.Duration) time.Duration { return ttl + 5*time.Second }

// judgeCrash never passes: silent loss of a node (no FIN, no RST) needs a probe
// of its own, and services notice it by other means.
func judgeCrash(run record.Run) Finding {
	all := trials(run, crashHolder)
	f := Finding{Trials: Trials{Of: len(all)}}
	var longest time.Duration
	var missing string
	for _, t := range all {
		grant := t.first(0, "a", history.OpAcquire, granted)
		kill := t.first(end(grant), "a", history.OpKill, ok)
		takeover := t.first(end(kill), "b", history.OpAcquire, ok)
		evidence := t.cite(grant, "")
		evidence = append(evidence, t.cite(kill, "")...)
		evidence = append(evidence, t.cite(t.first(end(kill), "observer", history.OpObserve, free), "")...)
		evidence = append(evidence, t.cite(takeover, "")...)
		switch {
		case grant == nil:
			missing = "A never acquired the lock"
			continue
		case kill == nil:
			missing = "the kill of A was never confirmed"
			continue
		case takeover == nil:
			// The probe waits for at least twice the lease before it gives up.
			missing = "B never acquired after A was killed"
			if waited := t.events[len(t.events)-1].At - kill.Done.At; waited > lease(run, grant)+takeoverSlack(lease(run, grant)) {
				f.Outcome, f.Evidence, f.Trials.Shown = Fail, evidence, f.Trials.Shown+1
				f.Summary = fmt.Sprintf("B could not acquire within %s after A was killed; the lease is %s", Duration(waited), Duration(lease(run, grant)))
			}
			continue
		}
		ttl := lease(run, grant)
		took := takeover.Done.At - kill.Done.At
		if limit := ttl + takeoverSlack(ttl); took > limit {
			f.Outcome, f.Evidence, f.Trials.Shown = Fail, evidence, f.Trials.Shown+1
			f.Summary = fmt.Sprintf("B could acquire only %s after A was killed; the lease is %s, and at most %s was to be expected", Duration(took), Duration(ttl), Duration(limit))
		}
		if f.Outcome == Inconclusive && took >= longest {
			longest, f.Evidence = took, evidence
			f.Summary = fmt.Sprintf("after a crash B could acquire within %s; silent loss of a node was not tested (needs %s)", Duration(took), loseNode)
		}
		if f.Outcome == Inconclusive {
			f.Trials.Shown++
		}
	}
	if f.Summary == "" {
		f.Summary = missing
	}
	return f
}
