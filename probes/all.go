package probes

// All lists every probe in the order in which an audit runs them: from the
// harmless to the harmful, so that an early refusal costs nothing.
func All() []Probe {
	list := []Probe{
		inspectDeployment(),
		measureNetwork(),
		measurePauses(),
		measureRenewals(),
		measureAcquire(),
		contend(),
		tokenBattery(),
		replayOperation(),
		crashHolder(),
		pauseHolderPastTTL(),
		lostUpdate(),
		partitionHolderPastTTL(),
		delayWriteInFlight(),
		loseAcquireReply(),
		loseNode(),
		doubleExecution(),
		clockJumpHolder(),
		clockJumpLockServer(),
		clockDrift(),
		isolateLockLeader(),
		crashLockPrimary(),
		restartLockServer(),
		partitionLockServers(),
	}
	for i := range list {
		list[i] = list[i].checked()
	}
	return list
}

// ByName finds a probe.
func ByName(name string) (Probe, bool) {
	for _, p := range All() {
		if p.Name == name {
			return p, true
		}
	}
	return Probe{}, false
}
