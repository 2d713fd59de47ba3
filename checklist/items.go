package checklist

// Items lists every item in the order of the report. A new item is one file, one
// line here, and its fixtures in testdata/<id>/.
func Items() []Item {
	return []Item{
		consensusBacked(),
		fencingEnforced(),
		tokensIncreasing(),
		noDoubleGrant(),
		effectsHappenOnce(),
		notSingleInstance(),
		notTTLOnly(),
		leaseFitsPauses(),
		lockFailuresObservable(),
		partitionsTested(),
		operationIdempotent(),
		wallClockIndependent(),
		recoversAfterCrash(),
		lostReplyRetrySafe(),
		noticesLoss(),
		tlsAndAuth(),
		idempotencyCouldReplaceLock(),
	}
}
