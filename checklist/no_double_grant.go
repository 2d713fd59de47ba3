package checklist

import (
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func noDoubleGrant() Item {
	return Item{
		ID:       "no_double_grant",
		Question: "is there no double grant under faults?",
		Why:      "A lock service that grants one lock to two clients within their leases is broken: nothing built on it excludes anybody.",
		Severity: Critical,
		Probes: []string{
			pauseHolder, cutHolder, partServers, isolateLeader, doubleExecution,
			crashPrimary, restartServer, jumpServer, clockDrift, loseNode, crashHolder, contend, tokenBattery, lostUpdate, replayOperation,
		},
		Fix: map[string]string{
			"etcd":      "Read the timeline first: a session that two clients share counts as one owner in etcd. Give every holder a session of its own, and acquire with concurrency.Mutex or a Txn on CreateRevision = 0.",
			"nats":      "Three copies of the bucket, Create to acquire, Update and Delete only with the revision that was last written, a TTL of the bucket and none of a single key (an Update drops it), and file storage. Whatever the service does, a paused holder can only be stopped at the resource.",
			"postgres":  "Take the lease by one conditional statement on the server's clock, release and renew it by its token, and keep the row. A server whose clock is stepped ends leases early, and a promoted asynchronous standby has not heard of the latest ones.",
			"redlock":   "appendonly yes with appendfsync always on every server (a restart that waits for longer than the longest lease does it as well: Restart= and RestartSec= of its unit); clocks slewed and never stepped; no replicas that are promoted. A step of the clocks of a majority grants twice whatever is set: where that must not be, use a service with consensus.",
			"redis":     "Acquire with SET NX PX and release with a compare-and-delete script: a plain DEL removes somebody else's lock. A lock forgotten by a failover or a restart needs a consensus system, or appendfsync always on a server that is alone.",
			"zookeeper": "Read the timeline first. Every holder needs an ephemeral sequential node of its own (Curator's InterProcessMutex, kazoo's Lock), and what it learns from a server that was cut off may be old: keep the session timeout above syncLimit × tickTime, or sync before you rely on it.",
			"":          "Acquire by one conditional write, release by one that checks the owner, and use a service that replicates before it answers.",
		},
		Judge: judgeDoubleGrant,
	}
}

// Capabilities of the lock clients, as locks names them; this package may not import it.
const (
	ownerCheck   = "owner-check"
	sessionBound = "session-bound"
)

// judgeDoubleGrant looks at every history. It passes only if a fault gave the
// service the occasion: a pause or a partition that outlived the lease,
// and B's grant in it.
func judgeDoubleGrant(run record.Run) Finding {
	w := joined(run)
	found := history.DoubleGrants(w.events, holdOptions(run))
	if len(found) > 0 {
		d := found[0]
		f := Finding{
			Outcome: Fail, Harm: true, Evidence: w.cite(d.Seqs()...),
			Summary: fmt.Sprintf("%s: %s was granted the lock at +%.3f s while the lease of %s was running",
				count(len(found), "double grant"), strings.ToUpper(d.Second.Actor), d.From.Seconds(), strings.ToUpper(d.First.Actor)),
		}
		if node, evidence := forgotten(run); evidence != nil {
			f.Summary += "; the lock was forgotten when the server on " + node + " was killed"
			f.Evidence = append(f.Evidence, evidence...)
		}
		return f
	}
	steps := bothSteps(run)
	f := Finding{Summary: "no double grant, but no fault gave occasion to one: " + pauseHolder + " was not run", Trials: Trials{Of: len(steps)}}
	for _, s := range steps {
		missing, ok := s.outlived()
		switch {
		case ok && s.complete:
			if f.Trials.Shown == 0 {
				f.Evidence = append(append(s.cite(s.aGrant, ""), s.cite(s.expired, "A's lease is over")...), s.cite(s.bGrant, "")...)
			}
			f.Trials.Shown++
		case !ok && f.Trials.Shown == 0:
			f.Summary = "no double grant, but no fault gave occasion to one: " + missing
		case f.Trials.Shown == 0:
			f.Summary = "no double grant, but the trial was not carried to its end"
		}
	}
	if f.Trials.Shown > 0 {
		f.Outcome = Pass
		f.Summary = fmt.Sprintf("%s, no two at the same time; B got the lock only when A's lease was over", count(grants(w), "grant"))
		if shapes := partedShapes(run); len(shapes) > 0 {
			f.Summary += "; the lock servers were parted too: " + strings.Join(shapes, ", ")
		}
		words, evidence := survived(run)
		f.Summary, f.Evidence = f.Summary+words, append(f.Evidence, evidence...)
	}
	return f
}

func grants(w wholeRun) int {
	n := 0
	for _, e := range w.events {
		if e.Op == history.OpAcquire && e.Type == history.OK {
			n++
		}
	}
	return n
}
