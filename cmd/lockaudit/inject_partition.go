package main

import (
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/spf13/cobra"
)

func injectPartitionCommand() *cobra.Command {
	var n networkFlags
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "partition --peer ADDRESS... --for DURATION",
		Short: "Drop the traffic with peers, and let it through after the given time",
		Long: `Drops packets between this machine and the peers without a word to either side,
as a cut cable does, and lets them through after the given time, on ctrl-C, or
when lockaudit or its agent dies, whichever comes first. Established connections
are cut too. At the end it says how much was dropped.

The SSH connection by which it runs stays, and so does what --protect names. The
direction out also drops what this machine forwards to the peers.

--pid, --unit and --container name a process: its network namespace is cut, or, with
--only, nothing but its own packets. For that the process and its children must be
alone in their control group (v2), as units and containers are; nothing is moved.

` + injectExit,
		Example: `  lockaudit inject partition --peer 10.0.0.1 --for 30s
  lockaudit inject partition --peer 10.0.0.0/24 --protect 10.0.0.9:22 --for 30s
  lockaudit inject partition --peer 10.0.0.1 --port 2379 --direction in --for 30s
  lockaudit inject partition --peer 10.0.0.1 --container 3f2a9c --for 30s
  lockaudit inject partition --peer 10.0.0.1 --unit billing --only --for 30s
  lockaudit inject partition --peer 10.0.0.1 --period 2s --duty 30 --for 1m   flapping
  lockaudit inject partition --peer 10.0.0.1 --peer 10.0.0.2 --peer 10.0.0.3 --pick 1 --seed 7 --for 30s
  lockaudit inject partition --peer 10.0.0.1 --for 30s --dry-run   what would be touched?`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error { return n.inject(cmd, partition.Kind, f) },
	}
	n.bind(cmd, "cut off", "stays reachable")
	cmd.Flags().StringVar(&n.Direction, "direction", "both", "both, in (what arrives) or out (what leaves)")
	cmd.Flags().IntVar(&n.Pick, "pick", 0, "cut off only so many of the peers, drawn by --seed")
	cmd.Flags().Uint64Var(&n.Seed, "seed", 0, "the draw of --pick; the same seed draws the same peers")
	cmd.Flags().DurationVar(&n.Period, "period", 0, "come and go in this time, as in 2s; with --duty")
	cmd.Flags().IntVar(&n.Duty, "duty", 0, "percent of the period in which it is in effect")
	f.bind(cmd)
	return cmd
}
