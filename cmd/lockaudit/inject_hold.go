package main

import (
	"encoding/json"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/hold"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/spf13/cobra"
)

func injectHoldCommand() *cobra.Command {
	var p partition.Params
	var whose target.Selector
	var only bool
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "hold --peer ADDRESS... --for DURATION",
		Short: "Keep packets to peers back, and deliver them late",
		Long: `Keeps what this machine sends to the peers in a queue of the kernel, and lets it go
in order after the given time, or on ctrl-C: a write that was on its way arrives
late. What the peers send arrives. If lockaudit or its agent dies, what is kept is
lost as on a bad line, and TCP sends it again.

--pid, --unit and --container name a process: its network namespace is meant, or, with
--only, nothing but its own packets, as with inject partition.

` + injectExit,
		Example: `  lockaudit inject hold --peer 10.0.0.21 --port 8080 --for 15s
  lockaudit inject hold --peer 10.0.0.21 --unit billing --only --for 15s
  lockaudit inject hold --peer 10.0.0.21 --for 15s --dry-run   what would be touched?`,
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
			params, err := json.Marshal(p)
			if err != nil {
				return couldNotRun(err)
			}
			return injectByHand(cmd, inject.Spec{Kind: hold.Kind, For: f.duration, Params: params}, f)
		},
	}
	cmd.Flags().StringArrayVar(&p.Peers, "peer", nil, "an address or network; repeatable")
	cmd.Flags().IntSliceVar(&p.Ports, "port", nil, "only packets with this port at either end; repeatable")
	cmd.Flags().StringVar(&p.Proto, "proto", "", "only tcp, or only udp")
	cmd.Flags().StringArrayVar(&p.Protect, "protect", nil, "an address and port that is let through; repeatable")
	cmd.Flags().StringVar(&p.Netns.Path, "netns", "", "the network namespace, as a path; the default is the agent's")
	bindWhose(cmd, &whose, &only)
	f.bind(cmd)
	return cmd
}
