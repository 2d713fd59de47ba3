package main

import (
	"encoding/json"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/pause"
	"github.com/spf13/cobra"
)

func injectPauseCommand() *cobra.Command {
	var target targetFlags
	var tree bool
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "pause --pid PID|--unit UNIT|… --for DURATION",
		Short: "Stop a process, and let it run on after the given time",
		Long: `Stops a process with SIGSTOP, as a long garbage collection would, and resumes it
after the given time, on ctrl-C, or when lockaudit or its agent dies, whichever
comes first. It says "resumed" only after it has looked.

` + targetHelp + `
` + exitHelp,
		Example: `  lockaudit inject pause --pid 4711 --for 30s
  lockaudit inject pause --pid 4711 --for 30s --tree     its children too
  lockaudit inject pause --pid 4711 --for 30s --dry-run  what would be touched?
  lockaudit inject pause --unit billing --for 30s        the main process of billing.service
  lockaudit inject pause --container 3f2a9c --for 30s
  lockaudit inject pause --port 2379 --for 30s           whoever listens there
  lockaudit inject pause --cmdline "redis-server *:6379" --for 30s`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := target.selector()
			if err != nil {
				return err
			}
			if f.duration <= 0 {
				return usage("--for is missing: every fault needs a deadline, as in --for 30s")
			}
			params, err := json.Marshal(pause.Params{Target: s, Tree: &tree})
			if err != nil {
				return couldNotRun(err)
			}
			return injectByHand(cmd, inject.Spec{Kind: pause.Kind, For: f.duration, Params: params}, f)
		},
	}
	target.bind(cmd, "")
	cmd.Flags().BoolVar(&tree, "tree", false, "its descendants too")
	f.bind(cmd)
	return cmd
}
