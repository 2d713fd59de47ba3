package main

import (
	"github.com/lockaudit/lockaudit/inject/pause"
	"github.com/spf13/cobra"
)

func injectPauseCommand() *cobra.Command {
	var target targetFlags
	var p pause.Params
	var tree bool
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "pause --pid PID|--unit UNIT|… --for DURATION",
		Short: "Stop a process, and let it run on after the given time",
		Long: `Stops a process, as a long garbage collection would, and resumes it after the given
time, on ctrl-C, or when lockaudit or its agent dies, whichever comes first. It says
that it runs only after it has looked.

  --method sigstop   SIGSTOP; its parent and job control see it (the default)
  --method ptrace    every thread held by ptrace; its parent sees nothing
  --method freezer   the whole unit or container, by its cgroup (v2); root only. The
                     kernel does not thaw by itself: if agent and guard are both
                     killed, it stays frozen until the next agent or lockaudit heal

With --period and --duty it stutters: stopped for that share of every period.

` + targetHelp + `
` + injectExit,
		Example: `  lockaudit inject pause --pid 4711 --for 30s
  lockaudit inject pause --pid 4711 --for 30s --tree     its children too
  lockaudit inject pause --pid 4711 --for 30s --dry-run  what would be touched?
  lockaudit inject pause --unit billing --for 30s        the main process of billing.service
  lockaudit inject pause --unit billing --method freezer --for 30s   all of it
  lockaudit inject pause --name java --period 100ms --duty 0.8 --for 30s
  lockaudit inject pause --container 3f2a9c --for 30s
  lockaudit inject pause --port 2379 --for 30s           whoever listens there
  lockaudit inject pause --cmdline "redis-server *:6379" --for 30s`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := target.selector()
			if err != nil {
				return err
			}
			if err := f.checkFor(cmd); err != nil {
				return err
			}
			if (p.Period != 0) != (p.Duty != 0) {
				return usage("a stutter needs both --period and --duty, as in --period 100ms --duty 0.8")
			}
			p.Target = s
			if p.Method != pause.MethodFreezer || cmd.Flags().Changed("tree") {
				p.Tree = &tree
			}
			spec, err := f.spec(pause.Kind, p, pause.Check)
			if err != nil {
				return err
			}
			return injectByHand(cmd, spec, f)
		},
	}
	target.bind(cmd, "")
	cmd.Flags().BoolVar(&tree, "tree", false, "its descendants too")
	cmd.Flags().StringVar(&p.Method, "method", pause.MethodSIGSTOP, "sigstop, ptrace or freezer")
	cmd.Flags().DurationVar(&p.Period, "period", 0, "stutter: stop and run again in every such period")
	cmd.Flags().Float64Var(&p.Duty, "duty", 0, "the share of each period in which it is stopped, as 0.8")
	f.bind(cmd)
	return cmd
}
