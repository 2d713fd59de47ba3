package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

func nodesCommand() *cobra.Command {
	var nodes nodeFlags
	var format string
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "nodes [PLAN]",
		Short: "Is each node of a plan reached, by which agent, and how far away is it?",
		Long: `Goes to every node of the plan at once, by its via, and says for each whether it was
reached, the agent's version and the version of the protocol that both speak, with
which privileges it runs, what can be injected there, the round trip, and how far
the node's clock is ahead of this machine's (the least of five round trips; right
within half of it). lockaudit doctor says why something cannot be injected.

It only looks: no agent is started, nothing is reverted or changed, and it works
beside a running audit. Nobody is asked for a password: ssh and sudo must work
without one, as they must in an audit.

Exit status:
  0   every node was reached, and can inject what the plan's probes need
  3   a node was not reached, speaks no common version, is halted, or cannot
      inject what is needed
  4   a fault was left behind on a node; lockaudit heal reverts it
  64  the command line is wrong`,
		Example: `  lockaudit nodes plan.yaml
  lockaudit nodes plan.yaml --node app-a --timeout 5s
  lockaudit nodes plan.yaml -f json
  lockaudit nodes                            this machine`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return usage("--format %q: text or json", format)
			}
			if limit <= 0 {
				return usage("--timeout %v: more than 0 is needed", limit)
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
			return reachAll(cmd, list, needs, format, limit)
		},
	}
	nodes.bind(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	cmd.Flags().DurationVar(&limit, "timeout", 30*time.Second, "how long each node may take")
	return cmd
}

// visit is one node's line of the JSON output. Times are in nanoseconds.
type visit struct {
	examined
	Reached bool `json:"reached"`
	// Protocol is the version of the order protocol that was agreed on.
	Protocol   int           `json:"protocol,omitempty"`
	Speaks     *agent.Range  `json:"speaks,omitempty"`
	RoundTrip  time.Duration `json:"round_trip,omitempty"`
	ClockAhead time.Duration `json:"clock_ahead"`
	ClockError time.Duration `json:"clock_error,omitempty"`
	Trouble    agent.Trouble `json:"trouble,omitempty"`
	Hint       string        `json:"hint,omitempty"`
}

// reachAll visits every node at once, and tells in the plan's order.
func reachAll(cmd *cobra.Command, nodes []plan.Node, needs map[string][]string, format string, limit time.Duration) error {
	all := make([]visit, len(nodes))
	var going sync.WaitGroup
	for i, n := range nodes {
		going.Go(func() {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			all[i] = visitNode(ctx, n)
			all[i].Needs = needs[n.Name]
		})
	}
	going.Wait()
	worst := exitOK
	var err error
	enc := json.NewEncoder(cmd.OutOrStdout())
	for _, v := range all {
		worst = worse(worst, v.status())
		if format == "json" {
			err = errors.Join(err, enc.Encode(v))
		}
	}
	if format == "text" {
		err = printVisits(cmd.OutOrStdout(), cmd.ErrOrStderr(), all)
	}
	if err != nil {
		return couldNotRun(err)
	}
	return finish(worst)
}

func (v visit) status() int {
	status := exitOK
	if v.Err != "" {
		status = exitCouldNotRun
	}
	if v.Health != nil {
		status = worse(status, v.examined.status())
	}
	return status
}

// visitNode goes there and looks.
func visitNode(ctx context.Context, n plan.Node) visit {
	v := visit{examined: examined{Node: n.Name}}
	c, err := agent.Dial(ctx, agent.Command{Argv: audit.OnNode(n, "look"), Tool: version}, nil)
	if err == nil {
		v.Reached = true
		h := c.Hello()
		v.Protocol, v.Speaks = h.Version, &h.Speaks
		var health agent.Health
		if health, err = c.Examine(ctx); err == nil {
			v.Health = &health
		}
		if o, cerr := c.Clock(ctx); cerr == nil {
			v.RoundTrip, v.ClockAhead, v.ClockError = o.RoundTrip, o.Ahead, o.Error
		} else {
			err = errors.Join(err, cerr)
		}
		err = errors.Join(err, c.Close())
	}
	if err == nil {
		return v
	}
	var u *agent.Unreached
	if errors.As(err, &u) {
		v.Trouble = u.Trouble
	}
	v.Err, v.Hint = oneLine(err), troubleHint(v.Trouble, n.Name, audit.OnNode(n))
	if v.Trouble == agent.TroubleOld {
		v.older(ctx, n)
	}
	return v
}

// older asks an agent's program that does not know how to be looked at for what doctor
// says, which all of them know.
func (v *visit) older(ctx context.Context, n plan.Node) {
	a := onNode(ctx, n, "", []string{"doctor", "-f", "json"})
	var h agent.Health
	if a.failed != nil || json.Unmarshal(a.out, &h) != nil {
		return
	}
	v.Reached, v.Health = true, &h
	v.Err = fmt.Sprintf("the agent there (%s) is older than this lockaudit (%s), and does not know how to be looked at", h.AgentVersion, version)
}

// printVisits prints who was reached and what can be done there, and what is wrong.
func printVisits(out, log io.Writer, all []visit) error {
	var reach, faults [][]string
	for _, v := range all {
		h := v.Health
		row := []string{v.Node, "no", "", "", "", "", ""}
		if v.Reached {
			row[1] = "yes"
			if v.RoundTrip > 0 {
				row[5] = short(v.RoundTrip)
				row[6] = fmt.Sprintf("%s ± %s", signed(v.ClockAhead), short(v.ClockError))
			}
			if v.Protocol > 0 {
				row[3] = fmt.Sprint(v.Protocol)
			}
		}
		if h != nil {
			row[2], row[4] = h.AgentVersion, privileges(*h)
			can, cannot := abilities(*h, v.Needs)
			faults = append(faults, []string{v.Node, can, cannot, present(*h)})
		}
		reach = append(reach, row)
	}
	if err := table(out, []string{"node", "reached", "agent", "protocol", "privileges", "round trip", "clock ahead"}, reach); err != nil {
		return err
	}
	if len(faults) > 0 {
		if err := table(out, []string{"node", "can inject", "cannot", "now"}, faults); err != nil {
			return err
		}
	}
	for _, v := range all {
		if v.Err != "" {
			printError(log, hinted{fmt.Errorf("reach node %s: %s", v.Node, v.Err), v.Hint})
		}
		if v.Health != nil {
			for _, p := range v.Health.Problems {
				fmt.Fprintf(log, "%s: %s\n", v.Node, p)
			}
		}
	}
	return nil
}

// abilities are the kinds of fault that work there, and the ones that do not, or of which
// it could not be told; those that the plan needs are marked.
func abilities(h agent.Health, needs []string) (can, cannot string) {
	var yes, no []string
	for _, k := range h.Kinds {
		if k.Answer == inject.Yes {
			yes = append(yes, k.Kind)
			continue
		}
		kind := k.Kind
		for _, n := range needs {
			if n == kind {
				kind += " (needed)"
			}
		}
		no = append(no, kind)
	}
	return strings.Join(yes, ", "), strings.Join(no, ", ")
}

// short rounds a time to what says something.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

func signed(d time.Duration) string {
	if d < 0 {
		return "-" + short(-d)
	}
	return "+" + short(d)
}
