package checklist

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/record"
)

func noticesLoss() Item {
	return Item{
		ID:       "notices_loss",
		Question: "does the holder notice in time that it lost the lock?",
		Why:      "Until it notices, it goes on as if it held the lock: two clients do the work of one. Noticing shortens that and never prevents it.",
		Severity: Minor,
		Probes:   []string{pauseHolder, cutHolder},
		Fix: map[string]string{
			"etcd":      "Watch Session.Done() and stop the work when it closes, and do not rely on it alone: until a lease's first renewal is answered, etcd's client allows the dial timeout and a second, however short the lease is. Check the monotonic clock against the lease before each write.",
			"nats":      "NATS tells nobody that a key has aged out: renew by Update from a timer of a third of the TTL, take a wrong-last-sequence answer for the loss, and check the monotonic clock against the lease before each write.",
			"postgres":  "A lease table tells nobody that a lease is over: renew from a timer of a third of the TTL, treat a refused renewal as loss, and check the monotonic clock against the lease before each write. With an advisory lock, watch the connection itself (tcp_user_timeout and keepalives on the client too) and stop when it ends; a pool that reconnects silently has lost the lock.",
			"redlock":   "Nobody is told that a hold is over: extend from a timer of a third of the TTL, stop at the mutex's Until by the monotonic clock, and look at it before each write.",
			"redis":     "Redis tells nobody that a key expired. Renew from a timer of a third of the TTL, treat a refused renewal as loss, and check the monotonic clock against the lease before each write.",
			"zookeeper": "Stop the work at SUSPENDED (a ConnectionStateListener), not only at LOST: Curator counts a session as lost a whole timeout after the connection was, when the servers have long given the lock away. A follower that is cut off from its leader goes on answering pings for syncLimit ticks: keep the session timeout above that. Check the monotonic clock before each write.",
			"":          "Compare the monotonic clock with the end of the lease before each write, and stop when the client library reports the loss.",
		},
		Judge: judgeNotice,
	}
}

// observeLoss is the capability locks.ObserveLoss, which this package may not import.
const observeLoss = "observe-loss"

// noticing is how one trial went.
type noticing struct {
	late     bool
	overlap  time.Duration
	summary  string
	evidence []Evidence
}

// judgeNotice reports the worst trial: one late notice is what an operator will
// meet some day.
func judgeNotice(run record.Run) Finding {
	all := bothSteps(run)
	f := Finding{Trials: Trials{Of: len(all)}, Summary: pauseHolder + " was not run"}
	var shown []noticing
	untested := map[string]string{pauseHolder: notRun(run, pauseHolder), cutHolder: notRun(run, cutHolder)}
	for _, s := range all {
		missing, ok := s.outlived()
		if ok && s.observed {
			missing, ok = "what the application itself believes cannot be seen from outside", false
		}
		n := noticing{}
		if ok {
			n = s.noticing(lease(run, s.aGrant), run.Manifest.Subject.Can(observeLoss))
		}
		stall := s.stalled()
		switch {
		case ok && !s.complete:
			missing, ok = "the trial was not carried to its end", false
		case ok && n.late && stall > 0:
			missing, ok = fmt.Sprintf("A noticed late, but the auditor itself did not run for %s meanwhile", Duration(stall)), false
		}
		if !ok {
			f.Summary, f.Evidence = missing, s.timeline("")
			untested[s.probe] = missing
			continue
		}
		delete(untested, s.probe)
		shown = append(shown, n)
	}
	if len(shown) == 0 {
		return f
	}
	worst := slices.MaxFunc(shown, func(x, y noticing) int {
		switch {
		case x.late == y.late:
			return cmp.Compare(x.overlap, y.overlap)
		case x.late:
			return 1
		}
		return -1
	})
	f.Outcome, f.Summary, f.Evidence = Pass, worst.summary, worst.evidence
	if worst.late {
		f.Outcome = Warn
	}
	for _, n := range shown {
		if n.late == worst.late {
			f.Trials.Shown++
		}
	}
	if why, missing := untested[cutHolder]; missing && !worst.late {
		f.Summary += "; a holder that is cut off was not tested (" + why + ")"
	}
	if why, missing := untested[pauseHolder]; missing && !worst.late {
		f.Summary += "; a holder that is paused was not tested (" + why + ")"
	}
	return f
}

// noticing: in time is within half a lease, because a client that renews every third
// of it has had to ask the service by then. can: its client can notice at all. A holder that was paused can ask from
// its resumption on; one that is cut off runs, so that B's grant counts.
func (s fiveSteps) noticing(ttl time.Duration, can bool) noticing {
	overlap, open := s.overlap()
	n := noticing{overlap: overlap, late: true}
	n.evidence = append(s.cite(s.bGrant, "from here A's belief is wrong"), s.cite(s.resume, "")...)
	from, since := s.resume, "it was resumed"
	if s.fault == cutOff() {
		from, since = s.bGrant, "B was granted the lock"
	}
	own := s.noticed()
	switch {
	case own == nil && !can:
		n.summary = "A's client cannot notice a loss by itself; left alone it would have gone on while B held the lock"
		return n
	case own == nil && s.fault == cutOff():
		n.evidence = append(n.evidence, s.stillHolding()...)
		n.summary = fmt.Sprintf("cut off, A did not notice by itself within %s that B had been granted the lock", Duration(overlap))
		return n
	case own == nil:
		n.summary = "A never noticed by itself that B held the lock; left alone it would have gone on"
		return n
	}
	n.evidence = append(n.evidence, s.quote(*own, "")...)
	if s.fault == cutOff() && own.At <= from.Done.At {
		n.late = false
		n.summary = fmt.Sprintf("cut off, A stopped by itself, %s before %s", Duration(from.Done.At-own.At), since)
		return n
	}
	after := max(0, own.At-from.Done.At) // it may be faster than the answer about its resumption
	n.late = after > ttl/2
	belief := Duration(overlap)
	if open {
		belief = "at least " + belief
	}
	n.summary = fmt.Sprintf("A noticed by itself, %s after %s; it believed for %s that it held the lock while B held it",
		Duration(after), since, belief)
	return n
}

// stillHolding cites the last time that A said it held the lock.
func (s fiveSteps) stillHolding() []Evidence {
	for _, e := range slices.Backward(s.events) {
		if e.Actor == "a" && stillHolds(e) {
			return s.quote(e, "B holds it")
		}
	}
	return nil
}
