package checklist

import "strings"

// usual is a metric or log line that a lock library or server is known to have, and where
// that is written. "" lists what goes with any backend.
type usual struct {
	what, source string
}

// usualSignals says, by backend, what could be looked at where nothing moved. Most client
// libraries have nothing: then only the application can count.
func usualSignals() map[string][]usual {
	exporter := "oliver006/redis_exporter"
	return map[string][]usual{
		"": {
			{"ShedLock logs \"Not executing '…'. It's locked.\" at level debug", "shedlock-core, DefaultLockingTaskExecutor"},
			{"leader_election_master_status and leader_election_slowpath_total", "kubernetes/client-go, leaderelection metrics (LeaderElector on a Lease)"},
		},
		"etcd": {
			{"grpc_client_handled_total{grpc_service=\"etcdserverpb.KV\"} of the client", "go-grpc-middleware/providers/prometheus, if the application wires it in; concurrency.Mutex itself has no metric"},
			{"etcd_debugging_server_lease_expired_total and etcd_debugging_lease_renewed_total of the servers: holders that died, not refusals", "etcd, server/etcdserver/metrics.go and server/lease/metrics.go"},
		},
		"redis": {
			{"redis_commands_total{cmd=\"set\"} and redis_commands_failed_calls_total of an exporter: a SET NX that is refused is neither failed nor told apart", exporter},
			{"nothing of Redisson, redsync, redlock or redis-py's Lock: their callers must count", "their sources have no metric of a lock"},
		},
		"redlock": {
			{"redis_commands_total{cmd=\"set\"} of an exporter for each server: a refusal is not told apart", exporter},
			{"nothing of redsync: ErrTaken and ErrFailed are returned, and the caller must count", "go-redsync/redsync/v4"},
		},
		"postgres": {
			{"pg_locks_count{mode=\"exclusivelock\"} of an exporter: who waits in pg_advisory_lock shows, a pg_try_advisory_lock that returns false does not", "prometheus-community/postgres_exporter"},
			{"with log_lock_waits = on, \"still waiting for ExclusiveLock on advisory lock\" in the server's log after deadlock_timeout", "PostgreSQL manual, Error Reporting and Logging"},
		},
	}
}

// usualWords names them in a sentence.
func usualWords(backend string) string {
	var out []string
	all := usualSignals()
	for _, u := range append(all[backend], all[""]...) {
		out = append(out, u.what+" ("+u.source+")")
	}
	return "What is usually there to look at: " + strings.Join(out, "; ") + "."
}
