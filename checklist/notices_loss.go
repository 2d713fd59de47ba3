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
		Probes:   []string{pauseHolder},
		Fix: map[string]string{
			"etcd":  "Watch Session.Done() and stop the work when it closes; check the monotonic clock against the lease before each write.",
			"redis": "Redis tells nobody that a key expired. Renew from a timer of a third of the TTL, treat a refused renewal as loss, and check the monotonic clock against the lease before each write.",
			"":      "Compare the monotonic clock with the end of the lease before each write, and stop when the client library reports the loss.",
		},
		Judge: judgeNotice,
	}
}

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
	all := allFiveSteps(run)
	f := Finding{Trials: Trials{Of: len(all)}, Summary: pauseHolder + " was not run"}
	var shown []noticing
	for _, s := range all {
		missing, ok := s.outlived()
		if ok && !s.complete {
			missing, ok = "the trial was not carried to its end", false
		}
		if !ok {
			f.Summary, f.Evidence = missing, s.timeline("")
			continue
		}
		shown = append(shown, s.noticing(lease(run, s.aGrant)))
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
	return f
}

// noticing: in time is within half a lease after the pause, because a client that
// renews every third of it has had to ask the service by then.
func (s fiveSteps) noticing(ttl time.Duration) noticing {
	overlap, open := s.overlap()
	n := noticing{overlap: overlap, late: true}
	n.evidence = append(s.cite(s.bGrant, "from here A's belief is wrong"), s.cite(s.resume, "")...)
	belief := Duration(overlap)
	if open {
		belief = "at least " + belief
	}
	own := s.noticed()
	if own == nil {
		n.summary = "A never noticed by itself that B held the lock; left alone it would have gone on"
		return n
	}
	after := max(0, own.At-s.resume.Done.At)
	n.late = after > ttl/2
	n.evidence = append(n.evidence, s.quote(*own, "")...)
	n.summary = fmt.Sprintf("A noticed by itself, %s after it was resumed; it believed for %s that it held the lock while B held it",
		Duration(after), belief)
	return n
}
