package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/spf13/cobra"
)

func injectPartitionCommand() *cobra.Command {
	var p partition.Params
	var whose target.Selector
	var only bool
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
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(p.Peers) == 0 {
				return usage("--peer is missing: an address or network, as in --peer 10.0.0.1")
			}
			if f.duration <= 0 {
				return usage("--for is missing: every fault needs a deadline, as in --for 30s")
			}
			if err := aim(&p, whose, only); err != nil {
				return usage("%v", err)
			}
			if len(p.Peers) > partition.MaxPeers { // the order might not even fit into its line
				return couldNotRun(fmt.Errorf("%d peers, at most %d; name networks instead of addresses: %w", len(p.Peers), partition.MaxPeers, inject.ErrRefused))
			}
			params, err := json.Marshal(p)
			if err != nil {
				return couldNotRun(err)
			}
			return injectByHand(cmd, inject.Spec{Kind: partition.Kind, For: f.duration, Params: params}, f)
		},
	}
	cmd.Flags().StringArrayVar(&p.Peers, "peer", nil, "an address or network to cut off; repeatable")
	cmd.Flags().IntSliceVar(&p.Ports, "port", nil, "only packets with this port at either end; repeatable")
	cmd.Flags().StringVar(&p.Proto, "proto", "", "only tcp, or only udp")
	cmd.Flags().StringVar(&p.Direction, "direction", "both", "both, in (what arrives) or out (what leaves)")
	cmd.Flags().StringArrayVar(&p.Protect, "protect", nil, "an address and port that stays reachable; repeatable")
	cmd.Flags().StringVar(&p.Netns.Path, "netns", "", "the network namespace, as a path; the default is the agent's")
	bindWhose(cmd, &whose, &only)
	cmd.Flags().IntVar(&p.Pick, "pick", 0, "cut off only so many of the peers, drawn by --seed")
	cmd.Flags().Uint64Var(&p.Seed, "seed", 0, "the draw of --pick; the same seed draws the same peers")
	cmd.Flags().DurationVar(&p.Period, "period", 0, "come and go in this time, as in 2s; with --duty")
	cmd.Flags().IntVar(&p.Duty, "duty", 0, "percent of the period in which it is in effect")
	f.bind(cmd)
	return cmd
}

func bindWhose(cmd *cobra.Command, whose *target.Selector, only *bool) {
	cmd.Flags().IntVar(&whose.PID, "pid", 0, "the network namespace of this process")
	cmd.Flags().StringVar(&whose.Unit, "unit", "", "the network namespace of this systemd unit")
	cmd.Flags().StringVar(&whose.Container, "container", "", "the network namespace of this container, by its id")
	cmd.Flags().BoolVar(only, "only", false, "only the packets of that process, unit or container")
}

// aim fills in whose packets are cut.
func aim(p *partition.Params, whose target.Selector, only bool) error {
	if whose.IsZero() {
		if only {
			return errors.New("--only needs --pid, --unit or --container")
		}
		return nil
	}
	if err := whose.Validate(); err != nil {
		return err
	}
	switch {
	case only:
		p.Process = whose
	case p.Netns.Path != "":
		return errors.New("--netns is given, and --pid, --unit or --container too")
	default:
		p.Netns.Of = whose
	}
	return nil
}
