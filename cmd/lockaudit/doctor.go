package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/reports"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
	"github.com/spf13/cobra"
)

func doctorCommand() *cobra.Command {
	var nodes nodeFlags
	var format string
	cmd := &cobra.Command{
		Use:   "doctor [PLAN]",
		Short: "What can this machine, or each node of a plan, inject?",
		Long: `Asks the agent's program on this machine, or on each node of the plan, what it
can inject there, and prints for each fault one of three answers: yes (with what
it cannot do all the same), no and what is missing, or could not check and why.
It also says who runs what there, with which privileges, whether the node is
halted, and whether a fault was left behind.

It only looks: it reverts nothing, changes nothing, and works beside a running
audit.

Exit status:
  0   every node was examined, and can inject what the plan's probes need
  3   a node could not be examined, is halted, or cannot inject what is needed
  4   a fault was left behind on a node; lockaudit heal reverts it
  64  the command line is wrong`,
		Example: `  lockaudit doctor
  lockaudit doctor plan.yaml
  lockaudit doctor plan.yaml --node etcd-1 -f json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return usage("--format %q: text or json", format)
			}
			list, err := nodes.nodes(args)
			if err != nil {
				return err
			}
			var needs map[string][]string
			if len(args) == 1 {
				if needs, err = needed(args[0]); err != nil {
					return couldNotRun(err)
				}
			}
			return examine(cmd, list, needs, format)
		},
	}
	nodes.bind(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	return cmd
}

// needed are the kinds of fault that the plan's probes order, by node.
func needed(path string) (map[string][]string, error) {
	f, err := loadPlan(path)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, p := range f.Locks {
		s, err := audit.Plan(p, audit.Options{})
		if err != nil {
			return nil, err
		}
		for _, probe := range s.Probes {
			if probe.Demands == nil {
				continue
			}
			for _, d := range probe.Demands(s.Params) {
				if !slices.Contains(out[d.Node], d.Kind) {
					out[d.Node] = append(out[d.Node], d.Kind)
				}
			}
		}
	}
	return out, nil
}

// examined is one node's line of the JSON output.
type examined struct {
	Node   string        `json:"node"`
	Health *agent.Health `json:"health,omitempty"`
	// Needs are the kinds of fault that the plan's probes order there.
	Needs []string `json:"needs,omitempty"`
	Err   string   `json:"err,omitempty"`
}

func examine(cmd *cobra.Command, nodes []plan.Node, needs map[string][]string, format string) error {
	worst := exitOK
	var all []examined
	onNodes(cmd.Context(), nodes, "", []string{"doctor", "-f", "json"}, func(a answer) {
		x := examined{Node: a.node.Name, Needs: needs[a.node.Name]}
		var h agent.Health
		err := a.failed
		if err == nil {
			if err = json.Unmarshal(a.out, &h); err != nil {
				err = fmt.Errorf("%w: %s", err, lastLine(string(a.err)))
			}
		}
		if err != nil {
			x.Err = oneLine(err)
			worst = worse(worst, exitCouldNotRun)
		} else {
			x.Health = &h
			worst = worse(worst, x.status())
		}
		all = append(all, x)
	})
	var err error
	if format == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		for _, x := range all {
			err = errors.Join(err, enc.Encode(x))
		}
	} else {
		err = printHealth(cmd.OutOrStdout(), all)
	}
	if err != nil {
		return couldNotRun(err)
	}
	return finish(worst)
}

func (x examined) status() int {
	switch {
	case x.Health.LeftBehind():
		return exitFaultRemains
	case x.Health.Halted != nil:
		return exitCouldNotRun
	}
	for _, k := range x.Health.Kinds {
		if k.Answer != inject.Yes && slices.Contains(x.Needs, k.Kind) {
			return exitCouldNotRun
		}
	}
	return exitOK
}

// printHealth prints who is there, what can be injected, and what is wrong.
func printHealth(w io.Writer, all []examined) error {
	var nodes, faults [][]string
	var problems []string
	for _, x := range all {
		h := x.Health
		if h == nil {
			nodes = append(nodes, []string{x.Node, "could not check", "", "", "", ""})
			problems = append(problems, x.Node+": "+x.Err)
			continue
		}
		nodes = append(nodes, []string{x.Node, h.AgentVersion, h.Kernel + " " + h.Arch, privileges(*h), h.StateDir, present(*h)})
		for _, k := range h.Kinds {
			kind := k.Kind
			if slices.Contains(x.Needs, k.Kind) {
				kind += " (needed)"
			}
			faults = append(faults, []string{x.Node, kind, string(k.Answer), k.Why})
		}
		for _, p := range h.Problems {
			problems = append(problems, x.Node+": "+p)
		}
	}
	if err := table(w, []string{"node", "agent", "kernel", "privileges", "state", "now"}, nodes); err != nil {
		return err
	}
	if len(faults) > 0 {
		if err := table(w, []string{"node", "fault", "supported", "why"}, faults); err != nil {
			return err
		}
	}
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	return nil
}

func privileges(h agent.Health) string {
	who := fmt.Sprintf("uid %d", h.UID)
	if h.UID == 0 && !h.MachineRoot {
		who += " of a user namespace"
	}
	if len(h.Capabilities) == 0 {
		return who + ", no capabilities"
	}
	short := make([]string, len(h.Capabilities))
	for i, c := range h.Capabilities {
		short[i] = strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return who + ", " + strings.Join(short, " ")
}

func present(h agent.Health) string {
	var now []string
	if h.Halted != nil {
		now = append(now, "halted")
	}
	switch {
	case len(h.Agents) > 0:
		now = append(now, fmt.Sprintf("an agent is at work (pid %d), %d faults in effect", h.Agents[0].PID, len(h.InEffect)))
	case h.LeftBehind():
		now = append(now, fmt.Sprintf("%d faults left behind", len(h.InEffect)))
	}
	if len(now) == 0 {
		return "at rest"
	}
	return strings.Join(now, ", ")
}

// widestCell keeps the tables within some 100 columns.
const widestCell = 50

func table(w io.Writer, header []string, rows [][]string) error {
	t := tablewriter.NewTable(w, tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithRowAlignment(tw.AlignLeft), tablewriter.WithHeaderAlignment(tw.AlignLeft))
	for _, row := range rows { // reasons are sentences, and would run off the screen
		for i, cell := range row {
			row[i] = strings.Join(reports.Wrap(cell, widestCell), "\n")
		}
	}
	t.Header(header)
	if err := t.Bulk(rows); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return t.Render()
}
