package main

import (
	"github.com/lockaudit/lockaudit/inject/hold"
	"github.com/spf13/cobra"
)

func injectHoldCommand() *cobra.Command {
	var n networkFlags
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "hold --peer ADDRESS... --for DURATION",
		Short: "Keep packets to peers back, and deliver them late",
		Long: `Keeps what this machine sends to the peers in a queue of the kernel, and lets it go
in order after the given time, or on ctrl-C: a write that was on its way arrives
late. What the peers send arrives. If lockaudit or its agent dies, what is kept is
lost as on a bad line, and TCP sends it again.

--pid, --unit and --container name a process: its network namespace is meant, or, with
--only, nothing but its own packets, as with inject partition.

` + injectExit,
		Example: `  lockaudit inject hold --peer 10.0.0.21 --port 8080 --for 15s
  lockaudit inject hold --peer 10.0.0.21 --unit billing --only --for 15s
  lockaudit inject hold --peer 10.0.0.21 --for 15s --dry-run   what would be touched?`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error { return n.inject(cmd, hold.Kind, f) },
	}
	n.bind(cmd, "keep back from", "is let through")
	f.bind(cmd)
	return cmd
}
