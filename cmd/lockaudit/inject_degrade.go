package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject/degrade"
	"github.com/spf13/cobra"
)

func injectDegradeCommand() *cobra.Command {
	var p degrade.Params
	var rate string
	var pid int
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "degrade --peer ADDRESS... --delay DURATION --for DURATION",
		Short: "Make the network towards peers slow, lossy or narrow for the given time",
		Long: `Delays, loses, duplicates, reorders or throttles what this machine sends to the
peers, by the interfaces that lead there, and ends that after the given time, on
ctrl-C, or when lockaudit or its agent dies, whichever comes first. Packets to
anybody else pass as before. What arrives is not touched: run it at the other end
too for that.

An interface whose queueing discipline somebody has set is refused: it would be
lost. The SSH connection by which it runs is left as it is, and so is what
--protect names.

` + injectExit,
		Example: `  lockaudit inject degrade --peer 10.0.0.1 --delay 100ms --jitter 20ms --for 30s
  lockaudit inject degrade --peer 10.0.0.0/24 --loss 5 --for 30s           5 % are lost
  lockaudit inject degrade --peer 10.0.0.1 --port 2379 --rate 1mbit --for 30s
  lockaudit inject degrade --peer 10.0.0.1 --delay 50ms --reorder 25 --for 30s
  lockaudit inject degrade --peer 10.0.0.1 --loss 5 --for 30s --dry-run    what would be touched?`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(p.Peers) == 0 {
				return usage("--peer is missing: an address or network, as in --peer 10.0.0.1")
			}
			if err := f.checkFor(cmd); err != nil {
				return err
			}
			if pid < 0 || pid > 0 && p.Netns.Path != "" {
				return usage("--pid is not a process id, or --netns is given too")
			}
			var err error
			if p.Rate, err = parseRate(rate); err != nil {
				return usage("%v", err)
			}
			p.Netns.Of.PID = pid
			spec, err := f.spec(degrade.Kind, p, degrade.Check)
			if err != nil {
				return err
			}
			return injectByHand(cmd, spec, f)
		},
	}
	cmd.Flags().StringArrayVar(&p.Peers, "peer", nil, "an address or network; repeatable")
	cmd.Flags().IntSliceVar(&p.Ports, "port", nil, "only packets with this port at either end; repeatable")
	cmd.Flags().DurationVar(&p.Delay, "delay", 0, "how much later each packet leaves, as in 100ms")
	cmd.Flags().DurationVar(&p.Jitter, "jitter", 0, "by how much the delay varies, up and down")
	cmd.Flags().Float64Var(&p.Loss, "loss", 0, "percentage of the packets that are lost")
	cmd.Flags().Float64Var(&p.Duplicate, "duplicate", 0, "percentage of the packets that are sent twice")
	cmd.Flags().Float64Var(&p.Reorder, "reorder", 0, "percentage of the packets that overtake the delayed ones")
	cmd.Flags().StringVar(&rate, "rate", "", "at most so many bits a second, as in 64kbit, 10mbit or 1gbit")
	cmd.Flags().StringArrayVar(&p.Protect, "protect", nil, "an address and port that is left as it is; repeatable")
	cmd.Flags().StringVar(&p.Netns.Path, "netns", "", "the network namespace, as a path; the default is the agent's")
	cmd.Flags().IntVar(&pid, "pid", 0, "the network namespace of this process")
	f.bind(cmd)
	return cmd
}

// parseRate reads bits a second, with the units of tc.
func parseRate(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	number, factor := strings.ToLower(s), 1.0
	for _, u := range []struct {
		unit   string
		factor float64
	}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}} {
		if n, ok := strings.CutSuffix(number, u.unit); ok {
			number, factor = n, u.factor
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0 && n*factor < 1e15) {
		return 0, fmt.Errorf("--rate is %q, not bits a second, as in 64kbit, 10mbit or 1gbit", s)
	}
	return uint64(n * factor), nil
}
