package main

import (
	"errors"
	"fmt"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/spf13/cobra"
)

// networkFlags say which packets a fault is for, the same for a partition and a hold.
type networkFlags struct {
	partition.Params
	whose target.Selector
	only  bool
}

// bind defines the flags; verb and kept say in a word or two what becomes of the
// packets, and of those that are protected.
func (n *networkFlags) bind(cmd *cobra.Command, verb, kept string) {
	flags := cmd.Flags()
	flags.StringArrayVar(&n.Peers, "peer", nil, "an address or network to "+verb+"; repeatable")
	flags.IntSliceVar(&n.Ports, "port", nil, "only packets with this port at either end; repeatable")
	flags.StringVar(&n.Proto, "proto", "", "only tcp, or only udp")
	flags.StringArrayVar(&n.Protect, "protect", nil, "an address and port that "+kept+"; repeatable")
	flags.StringVar(&n.Netns.Path, "netns", "", "the network namespace, as a path; the default is the agent's")
	flags.IntVar(&n.whose.PID, "pid", 0, "the network namespace of this process")
	flags.StringVar(&n.whose.Unit, "unit", "", "the network namespace of this systemd unit")
	flags.StringVar(&n.whose.Container, "container", "", "the network namespace of this container, by its id")
	flags.BoolVar(&n.only, "only", false, "only the packets of that process, unit or container")
}

// inject orders the fault.
func (n *networkFlags) inject(cmd *cobra.Command, kind string, f injectFlags) error {
	if len(n.Peers) == 0 {
		return usage("--peer is missing: an address or network, as in --peer 10.0.0.1")
	}
	if err := f.checkFor(cmd); err != nil {
		return err
	}
	if err := n.aim(); err != nil {
		return usage("%v", err)
	}
	if len(n.Peers) > partition.MaxPeers { // the order might not even fit into its line
		return couldNotRun(fmt.Errorf("%d peers, at most %d; name networks instead of addresses: %w", len(n.Peers), partition.MaxPeers, inject.ErrRefused))
	}
	spec, err := f.spec(kind, n.Params, partition.Check)
	if err != nil {
		return err
	}
	return injectByHand(cmd, spec, f)
}

// aim fills in whose packets they are.
func (n *networkFlags) aim() error {
	if n.whose.IsZero() {
		if n.only {
			return errors.New("--only needs --pid, --unit or --container")
		}
		return nil
	}
	if err := n.whose.Validate(); err != nil {
		return err
	}
	switch {
	case n.only:
		n.Process = n.whose
	case n.Netns.Path != "":
		return errors.New("--netns is given, and --pid, --unit or --container too")
	default:
		n.Netns.Of = n.whose
	}
	return nil
}
