package checklist

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/record"
)

func wallClockIndependent() Item {
	return Item{
		ID:       "wall_clock_independent",
		Question: "is the lock independent of wall clocks?",
		Why:      "A lease on a clock that NTP or an administrator can step ends early, and then two clients hold the lock, or late, and then nobody gets it.",
		Severity: Major,
		Probes:   []string{jumpServer, clockDrift, jumpHolder},
		Beside:   []string{inspect},
		Fix: map[string]string{
			"nats":     "JetStream stamps messages with the leader's wall clock and ages them by each copy's own: slew the servers' clocks (chrony with makestep off), never set them back, or use a service whose leases run on monotonic time (etcd).",
			"postgres": "now() and clock_timestamp() are the server's wall clock, and SQL has no other: slew it (chrony with makestep off), never step it. An advisory lock depends on no clock.",
			"redlock":  "Redis expires keys by its wall clock, and Redlock bears differences of a hundredth of the lease: slew the clocks of all servers (chrony with makestep off), never step them, let no two be corrected at once, or move the lock to a service whose leases run on monotonic time.",
			"redis":    "Redis expires keys by the server's wall clock: keep the servers' clocks together, slew them (chrony with makestep off) and never step them, or move the lock to a service whose leases run on monotonic time.",
			"":         "Use a service whose leases run on monotonic time, and measure the holder's lease with its monotonic clock.",
		},
		Judge: judgeWallClock,
	}
}

// clockTrial is how one trial under a wrong clock went: it shows that the lock
// depends on the clock (bad), that it does not, or nothing (missing).
type clockTrial struct {
	bad, shown, missing string
	harm                bool
	evidence            []Evidence
}

// judgeWallClock adds what inspection saw of the servers' clocks to what the trials
// showed: where leases go by the wall clock, servers that differ are a warning.
func judgeWallClock(run record.Run) Finding {
	f := judgeClockTrials(run)
	if item := wallClockIndependent(); !produced(run, item.Probes) {
		f = Finding{Summary: notTested(item, run)}
	}
	clocks := compareClocks(run)
	if clocks.seen == "" || f.Outcome == Fail && !clocks.apart {
		return f
	}
	if clocks.apart && f.Outcome != Fail {
		f.Outcome, f.Summary, f.Evidence = Warn, clocks.seen+"; "+f.Summary, append(clocks.evidence, f.Evidence...)
		return f
	}
	f.Summary += "; " + clocks.seen
	f.Evidence = append(f.Evidence, clocks.evidence...)
	return f
}

// judgeClockTrials passes if the servers' clocks were stepped past a lease that then
// went on, and back in one that then ended, and if the holder's was stepped too. What
// depends on a clock in one of the trials fails.
func judgeClockTrials(run record.Run) Finding {
	back := func(t trial) bool { return t.jumpsBack() }
	ahead := func(t trial) bool { return !t.jumpsBack() }
	kinds := []struct {
		all     []clockTrial
		missing string
		must    bool
	}{
		{eachTrial(run, jumpServer, ahead, serverClock), notRun(run, jumpServer), true},
		{eachTrial(run, jumpServer, back, serverClockBack), "whether a lease ends when the lock servers' clocks jump back was not tried", true},
		{eachTrial(run, clockDrift, ahead, serverClock), notRun(run, clockDrift), false},
		{eachTrial(run, jumpHolder, ahead, holderClock), notRun(run, jumpHolder), true},
	}
	f := Finding{}
	var lesser clockTrial // what did no harm is told behind what did
	for _, kind := range kinds {
		for _, c := range kind.all {
			f.Trials.Of++
			if c.bad == "" {
				continue
			}
			f.Trials.Shown++
			if !c.harm && lesser.bad == "" {
				lesser = c
			}
			if f.Outcome != Fail || c.harm && !f.Harm {
				f.Outcome, f.Harm, f.Summary, f.Evidence = Fail, c.harm, c.bad, c.evidence
			}
		}
	}
	if f.Harm && lesser.bad != "" {
		f.Summary += "; " + lesser.bad
		f.Evidence = append(f.Evidence, lesser.evidence...)
	}
	if f.Outcome == Fail {
		return f
	}
	var shown, missing []string
	decided := true
	for _, kind := range kinds {
		why := kind.missing
		for _, c := range kind.all {
			if why = c.missing; why == "" {
				f.Trials.Shown++
				f.Evidence = append(f.Evidence, c.evidence...)
				shown = append(shown, c.shown)
				break
			}
		}
		if why != "" {
			missing = append(missing, why)
			decided = decided && !kind.must
		}
	}
	f.Summary = strings.Join(append(shown, missing...), "; ")
	if decided {
		f.Outcome = Pass
	}
	return f
}

func eachTrial(run record.Run, probe string, wanted func(trial) bool, read func(record.Run, trial) clockTrial) []clockTrial {
	var out []clockTrial
	for _, t := range trials(run, probe) {
		if !wanted(t) {
			continue
		}
		c := read(run, t)
		if c.missing == "" && c.bad == "" && !t.complete {
			c.missing = probe + " was not carried to its end"
		}
		slices.SortStableFunc(c.evidence, func(x, y Evidence) int { return cmp.Compare(x.At, y.At) })
		out = append(out, c)
	}
	return out
}
