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
			"etcd":      "Tie the key to a lease (concurrency.NewSession does) and keep the TTL at the takeover time that the business accepts; a key without a lease stays for ever.",
			"nats":      "The bucket's TTL is the takeover time: keep it at what the business accepts, renew with a third of it, and never use a bucket without one.",
			"postgres":  "For a lease, keep the TTL at the takeover time that the business accepts. For a session advisory lock, have the server find dead connections: tcp_keepalives_idle, _interval and _count (two hours by default) and tcp_user_timeout, on the server, for seconds; idle_session_timeout with a client that sends something every third of it also ends a holder that is stuck.",
			"redlock":   "Every key needs its expiry in the command that sets it, as the libraries do it, and a TTL that the takeover can wait for.",
			"redis":     "Set the key and its expiry in one command (SET key value NX PX ttl): a crash between SETNX and EXPIRE leaves it for ever.",
			"zookeeper": "Make the node ephemeral and keep the session timeout at the takeover time that the business accepts; the servers grant between minSessionTimeout and maxSessionTimeout (2 and 20 ticks), whatever is asked.",
			"":          "Give every lock a lease that ends without its holder's help, no longer than the takeover time that the business accepts.",
		},
		Judge: judgeCrash,
	}
}

// takeoverSlack is how far beyond the lease a takeover may come: another lease,
// because Consul may keep a session for twice its TTL and a new etcd leader
// extends every lease once, and 5 s for the takeover itself, the longest that the
// probe lets a single call take. Less would blame the lock for a busy machine.
func takeoverSlack(ttl time.Duration) time.Duration { return ttl + 5*time.Second }

// judgeCrash passes only if both losses were shown: services notice a process
// that dies by its connections, and a node that falls silent by other means.
func judgeCrash(run record.Run) Finding {
	crash, silence := takeovers(run, crashHolder), takeovers(run, loseNode)
	f := Finding{Trials: Trials{Of: crash.of + silence.of}}
	for _, t := range []takeover{crash, silence} {
		f.Trials.Shown += t.shown
		if t.late != "" && f.Outcome != Fail {
			f.Outcome, f.Summary, f.Evidence, f.Trials.Shown = Fail, t.late, t.evidence, t.lates
		}
	}
	if f.Outcome == Fail {
		return f
	}
	f.Evidence = append(crash.evidence, silence.evidence...)
	crashed := fmt.Sprintf("after a crash B could acquire within %s", Duration(crash.longest))
	silent := fmt.Sprintf("after the silent loss of A's node within %s", Duration(silence.longest))
	switch {
	case crash.shown > 0 && silence.shown > 0:
		f.Outcome, f.Summary = Pass, fmt.Sprintf("%s, %s; %s", crashed, silent, leaseWords(run, silence.ttl))
	case crash.shown > 0:
		f.Summary = fmt.Sprintf("%s; silent loss of a node was not tested (%s)", crashed, silence.missing)
	case silence.shown > 0:
		f.Summary = fmt.Sprintf("%s B could acquire; a crash of the holder was not tested (%s)", silent, crash.missing)
	default:
		f.Summary = crash.missing
	}
	return f
}

// takeover is what the trials of one probe showed.
type takeover struct {
	of, shown, lates int
	longest, ttl     time.Duration
	// late says how B came too late, in the last trial in which it did.
	late     string
	missing  string // why a trial showed nothing
	evidence []Evidence
}

func takeovers(run record.Run, probe string) takeover {
	all := trials(run, probe)
	r := takeover{of: len(all), missing: "needs " + probe}
	for _, t := range all {
		grant := t.first(0, "a", history.OpAcquire, granted)
		from := grant
		var cut *history.Call
		if probe == loseNode {
			cut = t.first(end(grant), "agent", history.OpInject, ok, faultOn("partition", "a"))
			from = cut
		}
		kill := t.first(end(from), "a", history.OpKill, ok)
		acquired := t.first(end(kill), "b", history.OpAcquire, ok)
		evidence := append(t.cite(grant, ""), t.cite(cut, "")...)
		evidence = append(evidence, t.cite(kill, "")...)
		evidence = append(evidence, t.cite(t.first(end(kill), "observer", history.OpObserve, free), "")...)
		evidence = append(evidence, t.cite(acquired, "")...)
		switch {
		case grant == nil:
			r.missing = "A never acquired the lock"
			continue
		case probe == loseNode && cut == nil:
			r.missing = "the partition of A's node was never confirmed"
			continue
		case kill == nil:
			r.missing = "the kill of A was never confirmed"
			continue
		}
		r.ttl = lease(run, grant)
		limit := r.ttl + takeoverSlack(r.ttl)
		if acquired == nil {
			// The probe waits for at least twice the lease before it gives up.
			r.missing = "B never acquired after A was killed"
			if waited := t.events[len(t.events)-1].At - kill.Done.At; waited > limit && t.stalled() == 0 {
				r.tooLate(evidence, "B could not acquire within %s after A was killed; %s", Duration(waited), leaseWords(run, r.ttl))
			}
			continue
		}
		took := acquired.Done.At - kill.Done.At
		switch {
		case probe == loseNode && acquired.Done.At < grant.Invoke.At+r.ttl*9/10:
			r.missing = "B was granted the lock while the lease of A, of whose death nobody could know, was running"
		case took > limit && t.stalled() > 0:
			r.missing = fmt.Sprintf("B could acquire late, but the auditor itself did not run for %s meanwhile", Duration(t.stalled()))
		case took > limit:
			r.tooLate(evidence, "B could acquire only %s after A was killed; %s, and at most %s was to be expected",
				Duration(took), leaseWords(run, r.ttl), Duration(limit))
		case probe == loseNode && !t.complete:
			r.missing = "the trial was not carried to its end"
		default:
			if r.shown++; took >= r.longest && r.late == "" {
				r.longest, r.evidence = took, evidence
			}
		}
	}
	return r
}

// leaseWords say how long the lease is; a lock without one is judged by the lease that
// the plan names.
func leaseWords(run record.Run, ttl time.Duration) string {
	if run.Manifest.Subject.Can(sessionBound) {
		return fmt.Sprintf("there is no lease, and the plan speaks of %s", Duration(ttl))
	}
	return "the lease is " + Duration(ttl)
}

func (r *takeover) tooLate(evidence []Evidence, format string, args ...any) {
	r.late, r.evidence = fmt.Sprintf(format, args...), evidence
	r.lates++
}
