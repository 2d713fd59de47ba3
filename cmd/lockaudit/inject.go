package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

// reachLimit bounds starting an agent by hand.
const reachLimit = 30 * time.Second

func injectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inject",
		Short: "One fault by hand, with a deadline",
		Long: `Injects one fault on this machine and waits for its end: the deadline that --for
sets, or ctrl-C. If lockaudit dies it is reverted too. --dry-run prints what would be
touched, and touches nothing. It needs no plan; docs/faults has a page for each kind.

` + injectExit,
		Example: `  sudo lockaudit inject pause --unit billing --for 30s
  sudo lockaudit inject partition --peer 10.0.0.1 --port 2379 --for 30s
  sudo lockaudit inject degrade --peer 10.0.0.1 --delay 100ms --for 30s --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit{exitUsage, hinted{fmt.Errorf("unknown fault %q", args[0]), "known are: pause, partition, hold, degrade, clock, crash, hook"}}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(injectPauseCommand())
	cmd.AddCommand(injectPartitionCommand())
	cmd.AddCommand(injectHoldCommand())
	cmd.AddCommand(injectClockCommand())
	cmd.AddCommand(injectDegradeCommand())
	cmd.AddCommand(injectCrashCommand())
	cmd.AddCommand(injectHookCommand())
	return cmd
}

// injectFlags are common to all faults.
type injectFlags struct {
	allow    []string   // flags for the agent
	node     *plan.Node // whose agent; nil: this machine's
	once     bool       // it is over as soon as it has happened
	duration time.Duration
	dryRun   bool
	json     bool
}

func (f *injectFlags) bind(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.duration, "for", 0, "how long, as in 30s")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be touched, and touch nothing")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the prepared fault and its end as JSON lines")
}

// checkFor refuses what is no deadline.
func (f *injectFlags) checkFor(cmd *cobra.Command) error {
	switch {
	case f.duration > 0:
		return nil
	case cmd.Flags().Changed("for"):
		return usage("--for %s is not above zero: it is how long the fault lasts, as in --for 30s", f.duration)
	}
	return usage("--for is missing: every fault needs a deadline, as in --for 30s")
}

// spec is the order for a fault. check says of the kind what values mean nothing, so
// that no agent is started for those; what an agent must refuse is the agent's to say.
func (f *injectFlags) spec(kind string, params any, check func([]byte) error) (inject.Spec, error) {
	b, err := json.Marshal(params)
	if err != nil { // a share that is no number
		return inject.Spec{}, usage("encode %s: %v", kind, err)
	}
	if err := check(b); err != nil && !errors.Is(err, inject.ErrRefused) && !errors.Is(err, inject.ErrUnsupported) {
		return inject.Spec{}, exit{exitUsage, err}
	}
	return inject.Spec{Kind: kind, For: f.duration, Params: b}, nil
}

func injectByHand(cmd *cobra.Command, spec inject.Spec, f injectFlags) error {
	conn, err := f.dial(cmd.Context())
	if err != nil {
		return couldNotRun(err)
	}
	err = carryOut(cmd, conn, spec, f)
	if closeErr := conn.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
		if len(conn.Unconfirmed()) > 0 {
			return exit{exitFaultRemains, err}
		}
	}
	if err != nil {
		return couldNotRun(err)
	}
	return nil
}

// dial reaches the agent that is meant.
func (f injectFlags) dial(ctx context.Context) (*agent.Conn, error) {
	if f.node == nil {
		return dialLocal(ctx, f.allow...)
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	return agent.Dial(ctx, audit.AgentCommand(*f.node), nil)
}

func dialLocal(ctx context.Context, flags ...string) (*agent.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	return agent.Dial(ctx, audit.AgentCommand(plan.Node{Agent: append([]string{"lockaudit-agent"}, flags...)}), nil)
}

func carryOut(cmd *cobra.Command, conn *agent.Conn, spec inject.Spec, f injectFlags) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	if f.dryRun {
		p, err := conn.Prepare(ctx, spec)
		if err != nil {
			return err
		}
		if f.json {
			return json.NewEncoder(out).Encode(p)
		}
		for _, object := range p.Objects {
			fmt.Fprintf(out, "would touch: %s\n", object)
		}
		return nil
	}
	fault, err := conn.Inject(ctx, spec)
	if err != nil {
		return err
	}
	if f.once {
		say(out, f.json, map[string]any{"event": "injected", "fault": fault}, "injected %s: %s\n", fault.ID, fault.Effect.Seen)
		return revertNow(cmd, conn, fault, f)
	}
	say(out, f.json, map[string]any{"event": "injected", "fault": fault}, "injected %s: %s; ends by itself in %s\n", fault.ID, fault.Effect.Seen, spec.For)
	return untilOver(cmd, conn, fault, f)
}

// untilOver waits for the fault's own end, or ends it on ctrl-C.
func untilOver(cmd *cobra.Command, conn *agent.Conn, fault agent.Fault, f injectFlags) error {
	out := cmd.OutOrStdout()
	for {
		select {
		case <-cmd.Context().Done():
			return revertNow(cmd, conn, fault, f)
		case n, ok := <-conn.Notices():
			if !ok {
				return fmt.Errorf("wait for the end of %s: %w", fault.ID, agent.ErrClosed)
			}
			if n.FaultID != fault.ID {
				continue
			}
			if n.Kind != agent.NoticeReverted || n.Effect == nil {
				return fmt.Errorf("revert %s: %w: %s", fault.ID, agent.ErrRevertFailed, n.Err)
			}
			say(out, f.json, map[string]any{"event": "reverted", "fault_id": fault.ID, "why": n.Why, "effect": n.Effect}, "reverted %s (%s): %s\n", fault.ID, n.Why, n.Effect.Seen)
			return nil
		}
	}
}

// revertNow ends a fault by an order.
func revertNow(cmd *cobra.Command, conn *agent.Conn, fault agent.Fault, f injectFlags) error {
	effect, err := conn.Revert(context.WithoutCancel(cmd.Context()), fault.ID)
	if err != nil {
		return err
	}
	say(cmd.OutOrStdout(), f.json, map[string]any{"event": "reverted", "fault_id": fault.ID, "why": "order", "effect": effect}, "reverted %s: %s\n", fault.ID, effect.Seen)
	return nil
}

func say(w io.Writer, asJSON bool, event map[string]any, format string, args ...any) {
	if asJSON {
		_ = json.NewEncoder(w).Encode(event) // a closed stdout must not keep a fault from being reverted
		return
	}
	fmt.Fprintf(w, format, args...)
}
