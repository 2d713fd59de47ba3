package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/spf13/cobra"
)

func planCommand() *cobra.Command {
	var o audit.Options
	var resolve bool
	var only []string
	cmd := &cobra.Command{
		Use:   "plan PLAN",
		Short: "Dry run: every fault, node, object and duration that an audit would use",
		Long: `Parses and checks the plan and prints what lockaudit audit would do with it,
probe by probe. No node is contacted, so that it needs none and can be read in a
review.

With --resolve it goes on to ask: it starts the agent on each node, as an audit
does, has it prepare every fault, which changes nothing, and prints the exact
processes and kernel objects that each would touch (pids, tables, interfaces,
addresses), and what the agent would refuse. Lock clients are started by the audit
itself, so their pids are not known before. An agent that starts heals what an
earlier one left behind; lockaudit doctor only looks.

Exit status:
  0   the plan can be carried out, as far as was looked
  3   it is wrong or refused for safety; with --resolve: a node could not be
      reached, or an agent would refuse or cannot do one of the faults
  4   with --resolve: the end of an agent did not confirm that nothing is in effect
  64  the command line is wrong`,
		Example: `  lockaudit plan plan.yaml
  lockaudit plan plan.yaml --resolve
  lockaudit plan plan.yaml --lock billing
  lockaudit plan plan.yaml --probes pause-holder-past-ttl --trials 10`,
		Args: exactly(1, "PLAN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkDraw(cmd, o.Trials); err != nil {
				return err
			}
			f, err := loadPlan(args[0], only...)
			if err != nil {
				return couldNotRun(err)
			}
			schedules, err := schedule(f, o)
			if err != nil {
				return couldNotRun(err)
			}
			worst := exitOK
			for i, p := range f.Locks {
				if f.Several {
					fmt.Fprintf(cmd.OutOrStdout(), "%slock %d of %d\n", blank(i), i+1, len(f.Locks))
				}
				printPlan(cmd, p, schedules[i])
				if !resolve {
					continue
				}
				if err := printResolved(cmd, p, schedules[i]); err != nil {
					if !f.Several {
						return err
					}
					var e exit
					_ = errors.As(err, &e) // it is one
					printError(cmd.ErrOrStderr(), e.err)
					worst = worse(worst, e.status)
				}
			}
			return finish(worst)
		},
	}
	cmd.Flags().BoolVar(&resolve, "resolve", false, "ask the agents for the exact processes and kernel objects")
	cmd.Flags().StringSliceVar(&o.Probes, "probes", nil, "probes to run, by name (default: the plan's)")
	cmd.Flags().IntVar(&o.Trials, "trials", 0, "how often each probe is repeated (default: the plan's)")
	bindSeed(cmd, &o.Seed)
	bindLocks(cmd, &only)
	return cmd
}

// schedule works out what would be done for each lock. One that is refused refuses all:
// nothing is touched for a plan that cannot be carried out whole.
func schedule(f *plan.File, o audit.Options) ([]audit.Schedule, error) {
	var out []audit.Schedule
	for _, p := range f.Locks {
		s, err := audit.Plan(p, o)
		if err != nil {
			if f.Several {
				err = fmt.Errorf("lock %s: %w", p.Name, err)
			}
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// blank is a line between two of a list.
func blank(i int) string {
	if i == 0 {
		return ""
	}
	return "\n"
}

func printPlan(cmd *cobra.Command, p *plan.Plan, s audit.Schedule) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s: %s lock %s, lease %s, for %s\n", p.Name, p.Lock.Backend, p.Lock.Key, p.Lock.TTL, p.Lock.Purpose)
	if p.Owner.Team+p.Owner.Contact != "" {
		fmt.Fprintf(out, "  owner      %s\n", strings.TrimSpace(p.Owner.Team+" "+p.Owner.Contact))
	}
	for _, w := range p.Waivers {
		fmt.Fprintf(out, "  waived     %s until %s by %s: %s\n", w.Item, w.Until, w.Owner, w.Reason)
	}
	fmt.Fprintf(out, "  endpoints  %s\n", strings.Join(redacted(p.Lock.Endpoints), ", "))
	if p.Resource != nil {
		where := append([]string{}, p.Resource.Endpoints...)
		if p.Resource.URL != "" {
			where = append(where, p.Resource.URL)
		}
		fmt.Fprintf(out, "  resource   %s %s\n", p.Resource.Kind, strings.Join(redacted(where), ", "))
	} else {
		fmt.Fprintf(out, "  resource   none: fencing cannot be tested\n")
	}
	printSafety(out, p)
	fmt.Fprintln(out, "agents would be started on:")
	onLockNodes := slices.ContainsFunc(s.Probes, func(p probes.Probe) bool { return p.OnLockNodes })
	for _, n := range p.Nodes {
		if n.Name == s.Params.NodeA || n.Name == s.Params.NodeB || onLockNodes && n.Has(plan.RoleLock) {
			fmt.Fprintf(out, "  %-10s %s\n", n.Name, strings.Join(append(append([]string{}, n.Via...), n.Agent...), " "))
		}
	}
	printClients(out, p, s)
	for _, probe := range s.Probes {
		fmt.Fprintf(out, "\n%s (%s)\n  %s\n", probe.Name, times(s.TrialsOf(probe)), probe.About)
		for _, line := range probe.Explain(s.Params) {
			fmt.Fprintf(out, "  - %s\n", line)
		}
	}
	fmt.Fprintln(out, "\nThe canary names end in random characters that differ from run to run.")
}

// printClients says which program runs where.
func printClients(out io.Writer, p *plan.Plan, s audit.Schedule) {
	all := p.ClientCommand("", "a")
	fmt.Fprintf(out, "lock clients: %s\n", strings.Join(all, " "))
	for _, c := range []struct{ name, node string }{{"a", s.Params.NodeA}, {"b", s.Params.NodeB}, {plan.Observer, s.Params.NodeB}} {
		if own := p.ClientCommand(c.node, c.name); !slices.Equal(own, all) {
			fmt.Fprintf(out, "  %-10s %s\n", c.name+" on "+c.node, strings.Join(own, " "))
		}
	}
	if env := p.ClientEnv(); len(env) > 0 {
		var names []string
		for _, e := range env {
			name, _, _ := strings.Cut(e, "=")
			names = append(names, name)
		}
		fmt.Fprintf(out, "  with %s besides PATH, HOME and LANG\n", strings.Join(names, ", "))
	}
}

// printSafety prints the limits that the plan sets.
func printSafety(out io.Writer, p *plan.Plan) {
	s := p.Safety
	if s.Allows(plan.AllowLongFaults) {
		fmt.Fprintln(out, "  a fault lasts as long as its probe needs (allowed: long-faults)")
	} else {
		fmt.Fprintf(out, "  no fault lasts longer than %s\n", s.MaxFault)
	}
	if s.MaxFaults > 0 {
		fmt.Fprintf(out, "  at most %d faults at once\n", s.MaxFaults)
	}
	if n := s.MaxNodes.Of(len(p.Nodes)); n < len(p.Nodes) {
		fmt.Fprintf(out, "  at most %d of %d nodes at once\n", n, len(p.Nodes))
	}
	for _, c := range s.StopIf {
		if c.Metrics != "" {
			fmt.Fprintf(out, "  stops if this holds or cannot be read   %s (looked at every second)\n", c)
			continue
		}
		fmt.Fprintf(out, "  stops if this fails   %s (looked at every second)\n", c)
	}
	if len(s.Protect) > 0 {
		fmt.Fprintf(out, "  never cut off   %s\n", strings.Join(s.Protect, ", "))
	}
	for _, o := range s.Allow {
		fmt.Fprintf(out, "  allowed by name   %s\n", o)
	}
	fmt.Fprintln(out)
}

// printResolved prints what each fault would touch, as the agents say.
func printResolved(cmd *cobra.Command, p *plan.Plan, s audit.Schedule) error {
	out := cmd.OutOrStdout()
	fmt.Fprintln(out, "\nwhat each fault would touch, as the agents say (nothing was changed):")
	probe, group, refused := "", "", 0
	err := audit.Resolve(cmd.Context(), p, s, func(r audit.Resolved) {
		if r.Probe != probe {
			probe, group = r.Probe, ""
			fmt.Fprintf(out, "\n%s\n", probe)
		}
		if r.Demand.Together != group {
			group = r.Demand.Together
			fmt.Fprintf(out, "  %s, as if the first lock node led\n", group)
		}
		fmt.Fprintf(out, "  - %s\n", r.Demand)
		for _, o := range r.Objects {
			fmt.Fprintf(out, "      %s\n", o)
		}
		if r.Err != nil {
			refused++
			fmt.Fprintf(out, "      not possible: %s\n", oneLine(r.Err))
		}
	})
	switch {
	case errors.Is(err, agent.ErrRevertFailed):
		return exit{exitFaultRemains, err}
	case err != nil:
		return couldNotRun(err)
	case refused > 0:
		return couldNotRun(hinted{fmt.Errorf("resolve plan: %d of its faults are not possible", refused), "lockaudit doctor PLAN says what each node can do"})
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// redacted returns addresses without the passwords that they may carry.
func redacted(addresses []string) []string {
	var out []string
	for _, a := range addresses {
		out = append(out, plan.RedactURL(a))
	}
	return out
}
