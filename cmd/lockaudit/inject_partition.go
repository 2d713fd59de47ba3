package main

import (
	"encoding/json"
	"fmt"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/spf13/cobra"
)

func injectPartitionCommand() *cobra.Command {
	var p partition.Params
	var pid int
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

` + exitHelp,
		Example: `  lockaudit inject partition --peer 10.0.0.1 --for 30s
  lockaudit inject partition --peer 10.0.0.0/24 --protect 10.0.0.9:22 --for 30s
  lockaudit inject partition --peer 10.0.0.1 --port 2379 --direction in --for 30s
  lockaudit inject partition --peer 10.0.0.1 --pid 4711 --for 30s  in a container's namespace
  lockaudit inject partition --peer 10.0.0.1 --for 30s --dry-run   what would be touched?`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(p.Peers) == 0 {
				return usage("--peer is missing: an address or network, as in --peer 10.0.0.1")
			}
			if f.duration <= 0 {
				return usage("--for is missing: every fault needs a deadline, as in --for 30s")
			}
			if pid < 0 || pid > 0 && p.Netns.Path != "" {
				return usage("--pid is not a process id, or --netns is given too")
			}
			if len(p.Peers) > partition.MaxPeers { // the order might not even fit into its line
				return couldNotRun(fmt.Errorf("%d peers, at most %d; name networks instead of addresses: %w", len(p.Peers), partition.MaxPeers, inject.ErrRefused))
			}
			p.Netns.Of.PID = pid
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
	cmd.Flags().IntVar(&pid, "pid", 0, "the network namespace of this process")
	f.bind(cmd)
	return cmd
}
