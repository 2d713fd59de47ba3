package main

import (
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
	"github.com/spf13/cobra"
)

// injectNodeClock is "inject clock --node".
func injectNodeClock(cmd *cobra.Command, s clock.Skew, drift string, allow bool, f injectFlags) error {
	for _, name := range []string{"pid", "name", "cmdline", "pid-file", "unit", "container", "port", "tree", "clock"} {
		if cmd.Flags().Changed(name) {
			return usage("--node is the clock of the whole machine; --%s does not go with it", name)
		}
	}
	ppm, err := parseDrift(drift)
	switch {
	case err != nil:
		return usage("--drift: %v", err)
	case s.Offset == 0 && ppm == 0:
		return usage("--offset or --drift is missing, as in --offset +30s or --drift 200ppm")
	case !allow:
		return usage("--node disturbs the clock of this machine for everybody on it; say --allow-node-clock too")
	}
	if err := f.checkFor(cmd); err != nil {
		return err
	}
	spec, err := f.spec(nodeclock.Kind, nodeclock.Params{Offset: s.Offset, Drift: ppm, Strobe: s.Strobe}, nodeclock.Check)
	if err != nil {
		return err
	}
	f.allow = []string{"--allow-node-clock"}
	return injectByHand(cmd, spec, f)
}
