package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/inject/all"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

func healCommand() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "heal [PLAN]",
		Short: "Revert whatever an agent left behind, and look whether it is gone",
		Long: `Reverts every fault that an agent's journal still lists, reads the kernel's state
back, and says what it found. Without a plan it heals this machine; with one, it
runs lockaudit-agent heal on every node of the plan that an audit uses.

An agent heals by itself when its input ends, when its deadline passes, and when
it is next started; this command is for looking, and for the case that all of
that was prevented.

` + exitHelp,
		Example: `  lockaudit heal
  sudo lockaudit heal
  lockaudit heal plan.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactly(1, "at most one PLAN")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return healPlan(cmd, args[0])
			}
			return healHere(cmd, state)
		},
	}
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

// healPlan runs the agent's own heal on each node; every node is tried whatever
// the others answer.
func healPlan(cmd *cobra.Command, path string) error {
	p, _, err := plan.Load(path)
	if err != nil {
		return couldNotRun(err)
	}
	worst := exitOK
	for _, n := range p.ClientNodes() {
		argv := append(audit.AgentCommand(n).Argv, "heal")
		fmt.Fprintf(cmd.OutOrStdout(), "%s:\n", n.Name)
		ctx, cancel := context.WithTimeout(cmd.Context(), reachLimit)
		heal := exec.CommandContext(ctx, argv[0], argv[1:]...)
		heal.Stdout, heal.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
		err := heal.Run()
		cancel()
		var ended *exec.ExitError
		switch {
		case errors.As(err, &ended) && ended.ExitCode() == exitFaultRemains:
			worst = exitFaultRemains
		case err != nil:
			printError(cmd.ErrOrStderr(), fmt.Errorf("heal node %s: %w", n.Name, err))
			worst = worse(worst, exitCouldNotRun)
		}
	}
	if worst != exitOK {
		return exit{status: worst}
	}
	return nil
}
