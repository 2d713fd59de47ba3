package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

func agentLogCommand() *cobra.Command {
	var nodes nodeFlags
	var verify bool
	var newest int
	var format string
	cmd := &cobra.Command{
		Use:   "agent-log [PLAN]",
		Short: "Who ordered what on a node, when, and how it went",
		Long: `Shows the log that an agent keeps of every order that changes something: faults,
reverts, deadlines, recoveries, halts, and what was refused. Without a plan it is
this machine's; with one, that of each node.

Each record holds the SHA-256 of the one before. --verify checks that chain and
says which line is not what was written. It cannot see that somebody with root
has written the whole log anew: for that, compare the newest sum that it prints
with one that you keep elsewhere.

Exit status:
  0   the log was read, and the chain holds
  1   a record was changed, taken out or put in
  3   a log could not be read, or a node not be reached
  64  the command line is wrong`,
		Example: `  sudo lockaudit agent-log -n 20
  lockaudit agent-log plan.yaml --node app-a
  lockaudit agent-log plan.yaml --verify
  lockaudit agent-log plan.yaml -f json > orders.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if newest < 0 {
				return usage("-n %d: a number of records", newest)
			}
			if format != "text" && format != "json" {
				return usage("--format %q: text or json", format)
			}
			list, err := nodes.nodes(args)
			if err != nil {
				return err
			}
			command := []string{"log", "-f", format}
			if verify {
				command = append(command, "--verify")
			}
			if newest > 0 {
				command = append(command, "-n", strconv.Itoa(newest))
			}
			return showLogs(cmd, list, format, command)
		},
	}
	nodes.bind(cmd)
	cmd.Flags().BoolVar(&verify, "verify", false, "check that no record was changed")
	cmd.Flags().IntVarP(&newest, "newest", "n", 0, "only so many of the newest records")
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	return cmd
}

// showLogs prints the log of each node; as JSON, each record with the node's name.
func showLogs(cmd *cobra.Command, nodes []plan.Node, format string, command []string) error {
	worst := exitOK
	enc := json.NewEncoder(cmd.OutOrStdout())
	onNodes(cmd.Context(), nodes, "", command, func(a answer) {
		status := a.status
		if a.failed != nil {
			status = exitCouldNotRun
		}
		worst = worse(worst, status)
		if format == "json" {
			for line := range strings.Lines(string(a.out)) {
				if raw := strings.TrimSpace(line); json.Valid([]byte(raw)) {
					_ = enc.Encode(struct {
						Node   string          `json:"node"`
						Record json.RawMessage `json:"record"`
					}{a.node.Name, json.RawMessage(raw)})
				}
			}
			a.out = nil
		}
		a.print(cmd.OutOrStdout(), cmd.ErrOrStderr())
		if a.failed != nil {
			printError(cmd.ErrOrStderr(), hinted{fmt.Errorf("read log of node %s: %w", a.node.Name, a.failed), "lockaudit doctor PLAN tries every node"})
		}
	})
	return finish(worst)
}
