package main

import (
	"encoding/json"
	"fmt"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

const haltExit = `Exit status:
  0   every node has confirmed
  3   the command could not run
  4   a node could not be reached or has not confirmed: a fault may still be in
      effect there
  64  the command line is wrong`

func haltCommand() *cobra.Command {
	var nodes nodeFlags
	var reason, format string
	cmd := &cobra.Command{
		Use:   "halt [PLAN]",
		Short: "Revert everything now, and let nothing be injected until resume",
		Long: `Reverts every fault that is in effect, also that of an audit which is running,
reads the kernel's state back, and lets nothing more be injected, by any audit,
until lockaudit resume. A halt never expires, and outlives agents and reboots.

Without a plan it halts this machine; with one, every node of it at once, whatever
becomes of the others. An agent that does not obey is killed, and what it had in
effect is reverted all the same. It can be repeated.

` + haltExit,
		Example: `  sudo lockaudit halt
  lockaudit halt plan.yaml --reason "shop is down, INC-4711"
  lockaudit halt plan.yaml --node app-a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ordered(cmd, args, nodes, format, reason, []string{"halt", "--reason", "-"}, exitFaultRemains)
		},
	}
	nodes.bind(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; whoever is refused an injection reads it")
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	return cmd
}

func resumeCommand() *cobra.Command {
	var nodes nodeFlags
	var format string
	cmd := &cobra.Command{
		Use:   "resume [PLAN]",
		Short: "End a halt: faults may be injected again",
		Long: `Takes away what lockaudit halt has put there. Nothing is injected by it. It can be
repeated.

Exit status:
  0   no node is halted any more
  3   a node could not be reached, or its halt could not be ended
  64  the command line is wrong`,
		Example: `  sudo lockaudit resume
  lockaudit resume plan.yaml
  lockaudit resume plan.yaml --node app-a`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ordered(cmd, args, nodes, format, "", []string{"resume"}, exitCouldNotRun)
		},
	}
	nodes.bind(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	return cmd
}

// nodeAnswer is one line of the JSON output.
type nodeAnswer struct {
	Node   string          `json:"node"`
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer,omitempty"`
	Err    string          `json:"err,omitempty"`
}

// ordered runs a command on the nodes and prints what each said. silent is the
// status where a node gives no answer.
func ordered(cmd *cobra.Command, args []string, f nodeFlags, format, stdin string, command []string, silent int) error {
	if format != "text" && format != "json" {
		return usage("--format %q: text or json", format)
	}
	nodes, err := f.nodes(args)
	if err != nil {
		return err
	}
	if format == "json" {
		command = append(command, "-f", "json")
	}
	return report(cmd, nodes, format, stdin, command, silent)
}

func report(cmd *cobra.Command, nodes []plan.Node, format, stdin string, command []string, silent int) error {
	worst := exitOK
	enc := json.NewEncoder(cmd.OutOrStdout())
	onNodes(cmd.Context(), nodes, stdin, command, func(a answer) {
		status := a.status
		if a.failed != nil {
			status = silent
		}
		worst = worse(worst, status)
		if format == "json" {
			line := nodeAnswer{Node: a.node.Name, Status: status, Err: lastError(a)}
			if json.Valid(a.out) {
				line.Answer = a.out
			}
			_ = enc.Encode(line) // a closed stdout does not undo what was done
			return
		}
		a.print(cmd.OutOrStdout(), cmd.ErrOrStderr())
		if a.failed != nil {
			printError(cmd.ErrOrStderr(), hinted{
				fmt.Errorf("%s node %s: not confirmed: %w", command[0], a.node.Name, a.failed),
				"log in there and run lockaudit-agent " + command[0],
			})
		}
	})
	return finish(worst)
}

func lastError(a answer) string {
	if a.failed != nil {
		return a.failed.Error()
	}
	if a.status != exitOK {
		return oneLine(fmt.Errorf("%s", string(a.err)))
	}
	return ""
}
