package checklist

// The items below wait for their probes. They are on the list already, because a
// reader must see what was not tested.

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
