package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/spf13/cobra"
)

func injectClockCommand() *cobra.Command {
	var p clock.Params
	var drift string
	var tree, node, allow bool
	var t targetFlags
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "clock (--pid PID | --node) (--offset DURATION | --drift PPM) --for DURATION",
		Short: "Show a process another wall clock, and the right one after the given time",
		Long: `Makes a process and its descendants read a wall clock that is wrong, by an offset,
by a drift, or both, and takes that back after the given time, on ctrl-C, or when
lockaudit or its agent dies. Should nobody be left to take it back, it ends in the
process itself at the given time. The machine's clock and every other process's stay
right, and so do the process's monotonic clocks.

What it covers: programs that read the time through libc, Go or the JVM, on amd64.
What it does not: the kernel's own waits for a wall-clock time (timerfd, cron-like
sleeps), and programs that make the system call themselves. A program that is
executed under the skew reads the right time. docs/faults/clock.md has it all.

With --node instead of a process it is the clock of the whole machine, for everybody
on it: NTP clients are paused meanwhile, and the clock is put where it would be
without the fault. As that cannot be undone by the kernel alone, it has to be allowed
by --allow-node-clock. docs/faults/clock-node.md has it all.

` + targetHelp + `
` + injectExit,
		Example: `  lockaudit inject clock --pid 4711 --offset +30s --for 1m
  lockaudit inject clock --name redis-server --offset -5m --for 1m
  lockaudit inject clock --port 2379 --drift 200ppm --for 10m      0.2 ms per second fast
  lockaudit inject clock --unit billing --offset 1h --strobe 5s --for 1m
  lockaudit inject clock --node --allow-node-clock --offset +30s --for 1m
  lockaudit inject clock --pid 4711 --offset +30s --for 1m --dry-run  what would be touched?`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if node {
				return injectNodeClock(cmd, p.Skew, drift, allow, f)
			}
			if p.Target, err = t.selector(); err != nil {
				return err
			}
			if p.DriftPPM, err = parseDrift(drift); err != nil {
				return usage("--drift: %v", err)
			}
			if p.Offset == 0 && p.DriftPPM == 0 {
				return usage("--offset or --drift is missing, as in --offset +30s or --drift 200ppm")
			}
			if err := f.checkFor(cmd); err != nil {
				return err
			}
			p.Tree = &tree
			spec, err := f.spec(clock.Kind, p, clock.Check)
			if err != nil {
				return err
			}
			return injectByHand(cmd, spec, f)
		},
	}
	cmd.Flags().DurationVar(&p.Offset, "offset", 0, "how far ahead the clock is to be, as in +30s; behind: -5m")
	cmd.Flags().StringVar(&drift, "drift", "", "how fast it is to go wrong, as in 200ppm, -50ppm or 10%")
	cmd.Flags().DurationVar(&p.Strobe, "strobe", 0, "take the skew away and put it back, each time this has passed")
	cmd.Flags().BoolVar(&tree, "tree", true, "its descendants too")
	cmd.Flags().BoolVar(&node, "node", false, "the clock of this machine, instead of a process's")
	cmd.Flags().BoolVar(&allow, "allow-node-clock", false, "with --node: yes, the clock of this machine")
	cmd.Flags().StringVar(&p.Clock, "clock", "realtime", "the clock; only the wall clock can be skewed")
	t.bind(cmd, "")
	f.bind(cmd)
	return cmd
}

// parseDrift reads 200ppm, 200 or 0.02%.
func parseDrift(s string) (ppm float64, err error) {
	if s == "" {
		return 0, nil
	}
	number, factor := strings.TrimSuffix(s, "ppm"), 1.0
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		number, factor = percent, 1e4
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, fmt.Errorf("%q is not a rate: write 200ppm (µs per second) or 10%%", s)
	}
	return v * factor, err
}
