package probes

import (
	"context"
	"fmt"
)

// driftPPM makes the servers' clocks run at one and a half times their speed. No real
// clock is that bad; one lease is then enough to see what a real drift does over many.
const driftPPM = 500_000

// clockDrift lets the wall clock of every lock server run fast during A's lease: does
// the lease end early?
func clockDrift() Probe {
	return Probe{
		Name:        "clock-drift",
		About:       "the lock servers' wall clocks run fast during A's lease: does it end early?",
		OnLockNodes: true,
		MaxFault:    skewLimit,
		Demands:     func(p Params) []Demand { return serversWrong(p, skewLimit(p)) },
		Trials:      once,
		Explain: func(p Params) []string {
			return explainServers(p, fmt.Sprintf("gains %d ms per second", driftPPM/1000), skewLimit(p))
		},
		Trial: func(ctx context.Context, t *Trial) error {
			return t.underSkew(ctx, "", fmt.Sprintf("2 let the lock servers' clocks gain %d ms per second", driftPPM/1000),
				Skew{DriftPPM: driftPPM, For: skewLimit(t.Params)})
		},
	}
}
