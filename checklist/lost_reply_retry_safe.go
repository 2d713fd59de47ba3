package checklist

import (
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func lostReplyRetrySafe() Item {
	return Item{
		ID:       "lost_reply_retry_safe",
		Question: "is it safe to retry when the reply was lost?",
		Why:      "The client that retries an acquire which had succeeded waits for itself, or leaves an orphan that blocks everybody.",
		Severity: Major,
		Probes:   []string{loseReply},
		Fix: map[string]string{
			"nats":      "Write a value that tells your own attempt, and after a lost reply read the key from the stream's leader before trying again: an entry with that value is your own, and goes on by its revision.",
			"redlock":   "The library deletes by value after a failed attempt, and where that is lost too the key stays until its lease is over: keep the lease short, and have a retry of the same attempt use the same value (WithValue) and extend what it finds.",
			"redis":     "Set the key with a value that stays the same over the retries of one attempt, and take your own value for a grant (a script: SET NX, else compare the value); or delete it by value after a timeout, before you try again.",
			"etcd":      "Retry with the same session: its key is the same, and concurrency.Mutex recognises it. After an attempt that failed revoke the lease, so that no key of it stays in the queue.",
			"zookeeper": "Put an id of the attempt into the node's name and look for it before you try again (Curator's withProtection, go-zookeeper's CreateProtectedEphemeralSequential); after an attempt that failed delete its node or close its session.",
			"":          "Send the same identity with each retry of an attempt, so that the service recognises its own grant.",
		},
		Judge: judgeLostReply,
	}
}

// judgeLostReply passes if every attempt that the service was seen to carry out
// without A's knowledge was followed by a retry that was granted, and by a free lock
// once A released. One retry that A's own orphan refused fails.
func judgeLostReply(run record.Run) Finding {
	all := trials(run, loseReply)
	f := Finding{Summary: "needs " + loseReply, Trials: Trials{Of: len(all)}}
	for _, t := range all {
		r := readLostReply(t)
		outcome, summary := r.judge(lease(run, r.retry))
		switch {
		case outcome == Fail && f.Outcome != Fail:
			f.Outcome, f.Summary, f.Evidence, f.Trials.Shown = Fail, summary, r.timeline(), 1
		case outcome == f.Outcome && outcome != Inconclusive:
			f.Trials.Shown++
		case outcome == Pass && f.Outcome == Inconclusive:
			f.Outcome, f.Summary, f.Evidence, f.Trials.Shown = Pass, summary, r.timeline(), 1
		case outcome == Inconclusive && f.Outcome == Inconclusive:
			f.Summary, f.Evidence = summary, r.timeline()
		}
	}
	return f
}

// lostReply is what one trial recorded, about its last attempt whose reply was lost.
type lostReply struct {
	trial
	cut, attempt, carried, heal, retry, release, after *history.Call
}

func readLostReply(t trial) lostReply {
	r := lostReply{trial: t}
	ofA := faultOn("partition", "a")
	for from := 0; ; {
		cut := t.first(from, "agent", history.OpInject, ok, ofA)
		if cut == nil {
			break
		}
		from = end(cut)
		r.cut, r.heal = cut, t.first(from, "agent", history.OpRevert, ok, ofA)
	}
	if r.heal == nil {
		return r
	}
	for i, c := range t.calls { // it began before the cut, if A had to wait
		if c.Invoke.Actor == "a" && c.Invoke.Op == history.OpAcquire && c.Invoke.Seq < r.heal.Invoke.Seq {
			r.attempt = &t.calls[i]
		}
	}
	r.carried = t.first(end(r.cut), "observer", history.OpObserve, isHeld, func(c history.Call) bool { return end(&c) < r.heal.Invoke.Seq })
	r.retry = t.first(end(r.heal), "a", history.OpAcquire)
	r.release = t.first(end(r.retry), "a", history.OpRelease)
	r.after = t.first(end(r.release), "observer", history.OpObserve, free)
	return r
}

func isHeld(c history.Call) bool {
	return ok(c) && c.Done.Holder != nil && c.Done.Holder.Held
}

// judge decides about one trial; ttl is the lease.
func (r lostReply) judge(ttl time.Duration) (Outcome, string) {
	switch {
	case r.heal == nil:
		return Inconclusive, "the loss of replies was never confirmed"
	case r.attempt == nil || r.attempt.Done == nil || r.attempt.Done.Type != history.Info:
		return Inconclusive, "A had an answer to its attempt, so that no reply was lost"
	case dropped(r.heal) == 0:
		return Inconclusive, "no packet was lost"
	case r.carried == nil:
		return Inconclusive, "the lock service was never seen to carry out the attempt whose reply was lost"
	case r.retry == nil || r.retry.Done == nil:
		return Inconclusive, "A never tried again"
	case r.retry.Done.At > r.attempt.Invoke.At+ttl && r.attempt.Invoke.Seq > r.cut.Invoke.Seq:
		return Inconclusive, "A tried again only when the lease of the lost attempt was over"
	case refused(*r.retry):
		return Fail, fmt.Sprintf("A's retry was refused by its own attempt, whose reply was lost: nobody can acquire until that one's lease (%s) ends", Duration(ttl))
	case !granted(*r.retry):
		return Inconclusive, "A's retry has no definite outcome"
	case !accepted(r.release):
		return Inconclusive, "A's release after its retry has no definite outcome"
	case r.after == nil && !r.complete:
		return Inconclusive, "the trial was not carried to its end"
	case r.after == nil || r.after.Done.At > r.release.Done.At+ttl/2:
		return Fail, "after A's retry and release the lock was not free: the attempt whose reply was lost still holds it"
	case !r.complete:
		return Inconclusive, "the trial was not carried to its end"
	}
	return Pass, "an attempt was carried out and its reply lost; A's retry was granted at once, and after its release nothing held the lock"
}

func (r lostReply) timeline() []Evidence {
	var out []Evidence
	for _, c := range []struct {
		call *history.Call
		note string
	}{
		{r.cut, ""}, {r.attempt, "its reply is lost"}, {r.carried, "the attempt was carried out"},
		{r.heal, ""}, {r.retry, "the retry"}, {r.release, ""}, {r.after, ""},
	} {
		out = append(out, r.cite(c.call, c.note)...)
	}
	return out
}
