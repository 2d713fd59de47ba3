package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/record"
)

func notSingleInstance() Item {
	return Item{
		ID:       "not_single_instance",
		Question: "is the lock service more than a single unreplicated instance?",
		Why:      "When the one server is lost, every lock is lost with it: nobody can lock, or everybody can.",
		Severity: Critical,
		Probes:   []string{inspect},
		Fix: map[string]string{
			"etcd":      "Add members until there are three: etcdctl member add, one at a time.",
			"nats":      "Three NATS servers on three machines with JetStream, one cluster, and a bucket of three copies.",
			"postgres":  "Add a standby (pg_basebackup -R) and name it in synchronous_standby_names, so that a lease that was granted is there after a failover. Advisory locks are never replicated.",
			"redis":     "A replica alone does not make the lock safe: failover forgets what was not replicated yet. Move locks that protect data to a consensus system; for the others add a replica and Sentinel.",
			"redlock":   "Five Redis servers on five machines that do not fail together, without replicas behind them, each named once; an odd number.",
			"zookeeper": "Add servers until three vote: reconfig, or server.N lines and a rolling restart, one server at a time.",
			"":          "Run the lock service on at least three servers that do not fail together.",
		},
		Judge: judgeSingle,
	}
}

// judgeSingle counts servers by their own identity: two endpoints with one
// identity are one server.
func judgeSingle(run record.Run) Finding {
	d := run.Facts
	if d.Quorum > 0 {
		return judgeClientQuorum(d)
	}
	servers := map[string]bool{}
	unread := 0
	for _, m := range d.Members {
		switch {
		case m.ID != "":
			servers[m.ID] = true
		case m.Err != "":
			unread++
		default:
			servers[m.Endpoint] = true
		}
	}
	f := Finding{Evidence: memberFacts(d)}
	copies := d.Replicas > 0 || d.Voters > 1
	switch {
	case len(servers) > 1 || copies:
		f.Outcome, f.Summary = Pass, count(max(len(servers), d.Voters, d.Replicas+1), "server")+" with identities of their own"
	case unread > 0 || len(servers) == 0:
		f.Summary = fmt.Sprintf("%s could not be read", count(unread, "member"))
	default:
		f.Outcome, f.Summary = Fail, "one server, no replica"
		if len(d.Members) > 1 {
			f.Summary = fmt.Sprintf("%d endpoints, but one server, no replica", len(d.Members))
		}
	}
	return f
}
