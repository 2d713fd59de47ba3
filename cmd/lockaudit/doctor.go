package main

import (
	"context"
	"fmt"
	"io"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/inject/degrade"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/olekukonko/tablewriter"
	"github.com/spf13/cobra"
)

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [PLAN]",
		Short: "What can this machine, or each node of a plan, inject?",
		Long: `Starts the agent on this machine, or on each client node of the plan, and says
which faults it supports there, and why not. It changes nothing. Exit status 3: a
fault that an audit uses is not supported.`,
		Example: `  lockaudit doctor
  lockaudit doctor plan.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactly(1, "at most one PLAN")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes := []plan.Node{{Name: "local", Agent: []string{"lockaudit-agent"}}}
			if len(args) == 1 {
				p, _, err := plan.Load(args[0])
				if err != nil {
					return couldNotRun(err)
				}
				nodes = p.ClientNodes()
			}
			return examine(cmd, nodes)
		},
	}
}

func examine(cmd *cobra.Command, nodes []plan.Node) error {
	var rows [][]string
	failed := false
	for _, n := range nodes {
		hello, err := greet(cmd.Context(), n)
		if err != nil {
			failed = true
			rows = append(rows, []string{n.Name, "-", "-", "no", err.Error()})
			continue
		}
		who := fmt.Sprintf("uid %d, agent %s", hello.UID, hello.AgentVersion)
		for _, k := range hello.Kinds {
			supported := "yes"
			if !k.Supported {
				supported = "no"
				failed = failed || !onlyByHand(k.Kind)
			}
			rows = append(rows, []string{n.Name, who, k.Kind, supported, k.Why})
		}
		for _, r := range hello.Recovered {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: healed at start: ", n.Name)
			printRecovered(cmd.OutOrStdout(), r)
		}
	}
	if err := table(cmd.OutOrStdout(), []string{"node", "agent", "fault", "supported", "why"}, rows); err != nil {
		return couldNotRun(err)
	}
	if failed {
		return exit{status: exitCouldNotRun}
	}
	return nil
}

// onlyByHand are faults that no probe of an audit needs: a node without them is
// not worse for it.
func onlyByHand(kind string) bool { return kind == degrade.Kind || kind == nodeclock.Kind }

func greet(ctx context.Context, n plan.Node) (agent.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	conn, err := agent.Dial(ctx, audit.AgentCommand(n), nil)
	if err != nil {
		return agent.Hello{}, err
	}
	return conn.Hello(), conn.Close()
}

func table(w io.Writer, header []string, rows [][]string) error {
	t := tablewriter.NewTable(w)
	t.Header(header)
	if err := t.Bulk(rows); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return t.Render()
}
