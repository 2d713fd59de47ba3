package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/spf13/cobra"
)

func planCommand() *cobra.Command {
	var o audit.Options
	cmd := &cobra.Command{
		Use:   "plan PLAN",
		Short: "Dry run: every fault, node, object and duration that an audit would use",
		Long: `Parses and checks the plan and prints what lockaudit audit would do with it,
probe by probe. No node is contacted.`,
		Example: `  lockaudit plan plan.yaml
  lockaudit plan plan.yaml --probes pause-holder-past-ttl --trials 10`,
		Args: exactly(1, "PLAN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := plan.Load(args[0])
			if err != nil {
				return couldNotRun(err)
			}
			s, err := audit.Plan(p, o)
			if err != nil {
				return couldNotRun(err)
			}
			printPlan(cmd, p, s)
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&o.Probes, "probes", nil, "probes to run, by name (default: the plan's)")
	cmd.Flags().IntVar(&o.Trials, "trials", 0, "how often each probe is repeated (default: the plan's)")
	return cmd
}

func printPlan(cmd *cobra.Command, p *plan.Plan, s audit.Schedule) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s: %s lock %s, lease %s, for %s\n", p.Name, p.Lock.Backend, p.Lock.Key, p.Lock.TTL, p.Lock.Purpose)
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
	fmt.Fprintf(out, "  no fault lasts longer than %s\n\n", p.Safety.MaxFault)
	fmt.Fprintln(out, "agents would be started on:")
	onLockNodes := slices.ContainsFunc(s.Probes, func(p probes.Probe) bool { return p.OnLockNodes })
	for _, n := range p.Nodes {
		if n.Name == s.Params.NodeA || n.Name == s.Params.NodeB || onLockNodes && n.Has(plan.RoleLock) {
			fmt.Fprintf(out, "  %-10s %s\n", n.Name, strings.Join(append(append([]string{}, n.Via...), n.Agent...), " "))
		}
	}
	fmt.Fprintf(out, "lock clients: %s\n", strings.Join(p.ClientCommand(), " "))
	for _, probe := range s.Probes {
		fmt.Fprintf(out, "\n%s (%s)\n  %s\n", probe.Name, times(s.TrialsOf(probe)), probe.About)
		for _, line := range probe.Explain(s.Params) {
			fmt.Fprintf(out, "  - %s\n", line)
		}
	}
	fmt.Fprintln(out, "\nThe canary names end in random characters that differ from run to run.")
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
