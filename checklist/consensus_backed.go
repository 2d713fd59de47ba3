package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/record"
)

func consensusBacked() Item {
	return Item{
		ID:       "consensus_backed",
		Question: "is lock state stored in a consensus-backed system?",
		Why:      "A lock that is acknowledged before a majority has it can be forgotten by a failover, and is then granted a second time.",
		Severity: Critical,
		Probes:   []string{inspect, crashPrimary, restartServer},
		Fix: map[string]string{
			"etcd":      "Run at least three voting members (learners do not count) on machines that do not fail together.",
			"nats":      "Give the bucket three or five copies (nats kv add --replicas 3): one of a single copy is lost with its server, and a bucket in memory with all of them. Copies agree by Raft.",
			"postgres":  "One PostgreSQL is no consensus, and a standby that confirms every commit is none either: two servers can both be promoted. Where that matters, move the lock to etcd, ZooKeeper or Consul, or have Patroni or its like decide by one of them who is primary, with synchronous_standby_names set and synchronous_commit at least on. Where lock and data are in one database, they are lost together, and fencing in the same database is what counts.",
			"redis":     "Redis replicates after it has answered, so a failover can forget a lock. For correctness move the lock to etcd, ZooKeeper, Consul or the database that holds the data; keep Redis for locks that only save work.",
			"redlock":   "A majority that clients count is no consensus: the servers agree on nothing, and one that was restarted without its keys, or whose clock jumped, votes again within the lease. appendonly yes with appendfsync always, or a restart that waits for longer than the longest lease, closes the first way and not the second. For correctness move the lock to etcd, ZooKeeper, Consul or the database that holds the data.",
			"zookeeper": "Run three or five voting servers (observers do not count) on machines that do not fail together, with forceSync left on.",
			"":          "Move the lock to a system that acknowledges only what a majority has stored: etcd, ZooKeeper, Consul, or the database that holds the data.",
		},
		Judge: judgeConsensus,
	}
}

// quorum is the smallest number of voters that survives the loss of one (etcd FAQ).
const quorum = 3

// judgeConsensus reads what the service says of itself, and believes what was seen
// more: a lock that was forgotten when a server died was not stored as it says.
func judgeConsensus(run record.Run) Finding {
	f := judgeMembers(run.Facts)
	if node, evidence := forgotten(run); evidence != nil {
		f.Outcome = Fail
		f.Summary += "; seen: the lock was forgotten when the server on " + node + " was killed"
		f.Evidence = append(f.Evidence, evidence...)
		return f
	}
	if f.Outcome == Pass {
		words, evidence := survived(run)
		f.Summary, f.Evidence = f.Summary+words, append(f.Evidence, evidence...)
	}
	return f
}

func judgeMembers(d *facts.Deployment) Finding {
	if d == nil {
		return Finding{Summary: "the lock service was not inspected"}
	}
	kept := "acknowledged locks are on disk: " + yesNo(d.Durable) + "; locks may be evicted: " + yesNo(d.Evicts)
	f := Finding{Evidence: append(memberFacts(d), Evidence{Probe: inspect, Text: kept})}
	switch {
	case d.Consensus == "" && len(d.Members) == 0:
		f.Summary = "the lock service could not be inspected"
	case d.Consensus == "" && d.Quorum > 0:
		f.Outcome = Fail
		f.Summary = fmt.Sprintf("%d votes of %d servers grant, and the servers agree on nothing: no consensus", d.Quorum, len(d.Members)) + forgetful(d)
	case d.Consensus == "":
		f.Outcome, f.Summary = Fail, "no consensus protocol replicates lock state before it is acknowledged"+forgetful(d)
	case d.Evicts != nil && *d.Evicts:
		f.Outcome, f.Summary = Fail, d.Consensus+forgetful(d)
	case d.Voters == 0:
		f.Summary = "the service speaks " + d.Consensus + ", but its voting members could not be counted"
	case d.Durable != nil && !*d.Durable:
		f.Outcome, f.Summary = Fail, d.Consensus+" without durable storage: a restart forgets acknowledged locks"
	case d.Voters < quorum:
		f.Outcome = Warn
		f.Summary = fmt.Sprintf("%s with %s: a majority does not survive the loss of one", d.Consensus, count(d.Voters, "voter"))
	default:
		f.Outcome, f.Summary = Pass, fmt.Sprintf("%s with %d voting members", d.Consensus, d.Voters)
	}
	return f
}

// forgetful says how else the service may lose a lock that it has acknowledged.
func forgetful(d *facts.Deployment) string {
	text := ""
	if no(d.Durable) {
		text += "; an acknowledged lock is not on disk, so that a restart forgets it"
	}
	if d.Evicts != nil && *d.Evicts {
		text += "; a lock may be evicted to free memory"
	}
	return text
}

// memberFacts cites what the members say of themselves.
func memberFacts(d *facts.Deployment) []Evidence {
	protocol := d.Consensus
	if protocol == "" {
		protocol = "none"
	}
	out := []Evidence{{Probe: inspect, Text: fmt.Sprintf("backend %s %s, consensus %s, %s, %s",
		d.Backend, d.Version, protocol, count(d.Voters, "voter"), count(d.Replicas, "asynchronous replica"))}}
	for _, m := range d.Members {
		text := "member " + m.Endpoint
		if m.Name != "" {
			text += " " + m.Name
		}
		switch {
		case m.Err != "":
			text += ": " + m.Err
		case m.Role != "":
			text += ": " + m.Role
		}
		out = append(out, Evidence{Probe: inspect, Text: text})
	}
	for _, line := range d.Unknown {
		out = append(out, Evidence{Probe: inspect, Text: "unknown: " + line})
	}
	return out
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
