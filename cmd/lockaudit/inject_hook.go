package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

func injectHookCommand() *cobra.Command {
	var h plan.Hook
	var path string
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "hook --inject COMMAND --revert COMMAND | NAME --plan PLAN",
		Short: "Run a command of your own as a fault, and another one that reverts it",
		Long: `Runs the inject command, and after the given time, on ctrl-C, or when lockaudit
dies, the revert command. It is for what no agent can reach, such as the failover of
a managed service.

Commands are lists of arguments, PROGRAM,ARGUMENT,…: no shell is involved, and
PROGRAM is an absolute path or a name on a fixed path. They run as the agent's user
with a minimal environment, and what they print is shown. The revert command is run
after success, failure and crash of the inject command, perhaps twice: it must be
idempotent. It is called reverted when the check command, if there is one, ends with
exit status 0; without one the revert command's own exit status is all that is said.

With a NAME and --plan it is a hook of the plan, on the node that the plan says.

` + injectExit,
		Example: `  lockaudit inject hook --inject /opt/ops/failover,db-1,db-2 --revert /opt/ops/failover,db-2,db-1 \
      --check /opt/ops/is-primary,db-1 --for 60s
  lockaudit inject hook failover --plan plan.yaml --for 60s
  lockaudit inject hook failover --plan plan.yaml --for 60s --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("hook needs at most one NAME")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.checkFor(cmd); err != nil {
				return err
			}
			switch {
			case (len(args) == 1) != (path != ""):
				return usage("NAME and --plan belong together: which hook of which plan?")
			case path != "" && (len(h.Inject) > 0 || len(h.Revert) > 0 || len(h.Check) > 0 || cmd.Flags().Changed("timeout")):
				return usage("the hook %s is the plan's, with its commands: leave --inject, --revert, --check and --timeout out", args[0])
			case path == "" && (len(h.Inject) == 0 || len(h.Revert) == 0):
				return usage("--inject or --revert is missing: what is run, and what undoes it?")
			case h.Timeout < 0 || h.Timeout > 30*time.Second:
				return usage("--timeout is at most 30s")
			}
			f.allow = []string{"--allow-commands"} // typed on this machine
			if path != "" {
				node, hook, err := hookOf(path, args[0])
				if err != nil {
					return couldNotRun(err)
				}
				h, f.node = hook, &node
			}
			spec, err := audit.HookSpec(h, f.duration)
			if err != nil {
				return couldNotRun(err)
			}
			return injectByHand(cmd, spec, f)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&h.Inject, "inject", nil, "the command that injects, as PROGRAM,ARGUMENT,…")
	flags.StringSliceVar(&h.Revert, "revert", nil, "the command that undoes it; it must be idempotent")
	flags.StringSliceVar(&h.Check, "check", nil, "a command whose exit status 0 means that all is as before")
	flags.DurationVar(&h.Timeout, "timeout", plan.DefaultHookTimeout, "how long each command may take")
	flags.StringVar(&path, "plan", "", "the plan that has the hook NAME")
	f.bind(cmd)
	return cmd
}

// hookOf finds a hook of a plan, and the node on which it runs.
func hookOf(path, name string) (plan.Node, plan.Hook, error) {
	p, _, err := plan.Load(path)
	if err != nil {
		return plan.Node{}, plan.Hook{}, err
	}
	h, ok := p.Hooks[name]
	if !ok {
		hint := "it has none"
		if len(p.Hooks) > 0 {
			hint = "it has " + strings.Join(slices.Sorted(maps.Keys(p.Hooks)), ", ")
		}
		return plan.Node{}, plan.Hook{}, hinted{fmt.Errorf("find hook %q in %s: there is none of this name", name, path), hint}
	}
	for _, n := range p.Nodes {
		if n.Name == h.Node {
			return n, h, nil
		}
	}
	return plan.Node{}, plan.Hook{}, fmt.Errorf("find node %q in %s: there is none", h.Node, path) // the plan was validated
}
