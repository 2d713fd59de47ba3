package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject/all"
	"github.com/spf13/cobra"
)

func healCommand() *cobra.Command {
	var state, format string
	var nodes nodeFlags
	cmd := &cobra.Command{
		Use:   "heal [PLAN]",
		Short: "Revert whatever an agent left behind, and look whether it is gone",
		Long: `Reverts every fault that an agent's journal still lists, reads the kernel's state
back, and says what it found. Without a plan it heals this machine; with one, it
runs lockaudit-agent heal on every node of the plan that an audit uses.

An agent heals by itself when its input ends, when its deadline passes, and when
it is next started; this command is for looking, and for the case that all of
that was prevented. Where an agent is at work it is left alone; lockaudit halt has
it revert at once.

` + haltExit,
		Example: `  lockaudit heal
  sudo lockaudit heal
  lockaudit heal plan.yaml
  lockaudit heal plan.yaml --node app-a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return ordered(cmd, args, nodes, format, "", []string{"heal"}, exitFaultRemains)
			}
			return healHere(cmd, state)
		},
	}
	nodes.bind(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json, for the nodes of a plan")
	cmd.Flags().StringVar(&state, "state", "", "the agent's state directory (default: the one that an agent of this user has)")
	return cmd
}

func healHere(cmd *cobra.Command, state string) error {
	if state == "" {
		dir, err := agent.StateDir()
		if err != nil {
			return couldNotRun(err)
		}
		state = dir
	}
	found, err := agent.Heal(cmd.Context(), state, all.Faults(all.Options{}))
	for _, r := range found {
		printRecovered(cmd.OutOrStdout(), r)
	}
	switch {
	case errors.Is(err, agent.ErrRevertFailed):
		return exit{exitFaultRemains, err}
	case err != nil:
		return couldNotRun(err)
	case len(found) == 0:
		fmt.Fprintf(cmd.OutOrStdout(), "nothing to heal: the journal in %s is empty\n", state)
	}
	return nil
}

func printRecovered(w io.Writer, r agent.Recovered) {
	if r.Err != "" {
		fmt.Fprintf(w, "%s  %s  %s: %s\n", r.ID, r.Kind, r.Outcome, r.Err)
		return
	}
	fmt.Fprintf(w, "%s  %s  %s: %s\n", r.ID, r.Kind, r.Outcome, r.Effect.Seen)
}
