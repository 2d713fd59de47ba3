package checklist

import "github.com/lockaudit/lockaudit/record"

func notTTLOnly() Item {
	return Item{
		ID:       "not_ttl_only",
		Question: "is the lock more than a TTL?",
		Why:      "A lease alone bounds how long a dead holder blocks others; it does not stop a live one that is late. With any TTL there is a pause that is longer.",
		Severity: Critical,
		Probes:   []string{pauseHolder},
		Fencing:  true,
		Fix: map[string]string{
			"etcd": "Keep the lease, and add what it cannot do: let the resource check the CreateRevision of the lock key with every write. A longer TTL only makes the failure rarer.",
			"":     "Keep the lease, and add what it cannot do: let the resource check an ordered token with every write. A longer TTL or a watchdog that renews only makes the failure rarer.",
		},
		Judge: judgeTTLOnly,
	}
}

// judgeTTLOnly: the five steps tell whether anything but the lease protects. That
// the same trials also show harm is fencing_enforced's to say.
func judgeTTLOnly(run record.Run) Finding {
	f := judgeStaleWrites(run)
	f.Harm = false
	const fromExpiry = 5 // links from the end of the lease on; fencing_enforced cites them all
	if n := len(f.Evidence); f.Outcome != Inconclusive && n > fromExpiry {
		f.Evidence = f.Evidence[n-fromExpiry:]
	}
	leased := false
	for _, s := range allFiveSteps(run) {
		leased = leased || lease(run, s.aGrant) > 0
	}
	switch {
	case f.Outcome == Pass:
		f.Summary = "when the lease had run out, the resource still refused the late holder"
	case f.Outcome == Fail && !leased:
		f.Outcome, f.Summary = Inconclusive, "the lock has no lease that could run out"
	case f.Outcome == Fail:
		f.Summary = "nothing but the lease protects the resource: when it had run out, no correct check took over"
	}
	return f
}
