package checklist

// The items below wait for their probes. They are on the list already, because a
// reader must see what was not tested.

func effectsHappenOnce() Item {
	return Item{
		ID:       "effects_happen_once",
		Question: "is there no double execution and no lost update?",
		Why:      "This is what the lock is for: the job that runs twice, the stock that is decremented once for two orders.",
		Severity: Critical,
		Probes:   []string{"double-execution", "lost-update"},
		Fix:      map[string]string{"": "Enforce fencing tokens at the resource, and make read-modify-write one conditional statement."},
	}
}

func leaseFitsPauses() Item {
	return Item{
		ID:       "lease_fits_pauses",
		Question: "does the lease outlast pauses and network, and end before the accepted takeover time?",
		Why:      "A lease shorter than the longest pause changes holders for nothing; one longer than the business can wait stops the work after a crash.",
		Severity: Major,
		Probes:   []string{"measure-pauses", "measure-network", "pause-tolerance"},
		Fix:      map[string]string{"": "Choose a TTL above the longest pause plus the tail of the round trip, and below the takeover time that the business accepts; renew every third of it."},
	}
}

func partitionsTested() Item {
	return Item{
		ID:       "partitions_tested",
		Question: "were partition scenarios tested?",
		Why:      "Partitions decide whether a lock is granted on both sides, and they are the case that nobody tries by hand.",
		Severity: Major,
		Probes:   []string{"partition-holder-past-ttl", "partition-lock-servers"},
		Fix:      map[string]string{"": "Run the partition probes on the staging deployment before each change of the lock service or its clients."},
	}
}

func operationIdempotent() Item {
	return Item{
		ID:       "operation_idempotent",
		Question: "is the protected operation idempotent?",
		Why:      "What may safely happen twice survives every failure of the lock.",
		Severity: Major,
		Probes:   []string{"replay-operation"},
		Fix:      map[string]string{"": "Give each operation an id, store it with the effect, and ignore an id that is already there."},
	}
}

func wallClockIndependent() Item {
	return Item{
		ID:       "wall_clock_independent",
		Question: "is the lock independent of wall clocks?",
		Why:      "A lease on a clock that NTP or an administrator can step ends early, and then two clients hold the lock.",
		Severity: Major,
		Probes:   []string{"clock-jump-lock-server", "clock-jump-holder", "clock-drift"},
		Fix: map[string]string{
			"redis": "Redis expires keys by the server's wall clock: slew it (chrony with makestep off), never step it, or move the lock to a service whose leases run on monotonic time.",
			"":      "Use a service whose leases run on monotonic time, and measure the holder's lease with its monotonic clock.",
		},
	}
}

func lostReplyRetrySafe() Item {
	return Item{
		ID:       "lost_reply_retry_safe",
		Question: "is it safe to retry when the reply was lost?",
		Why:      "The client that retries an acquire which had succeeded waits for itself, or leaves an orphan that blocks everybody.",
		Severity: Major,
		Probes:   []string{"lose-acquire-reply"},
		Fix:      map[string]string{"": "Send the same identity with each retry of an attempt, so that the service recognises its own grant."},
	}
}

func idempotencyCouldReplaceLock() Item {
	return Item{
		ID:       "idempotency_could_replace_lock",
		Question: "could idempotency replace the lock?",
		Why:      "The lock that is not needed does not fail.",
		Severity: Advice,
		Probes:   []string{"replay-operation"},
		Fix:      map[string]string{"": "If the operation can be made idempotent, do that, and keep the lock only to save work."},
	}
}
