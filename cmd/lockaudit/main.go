// Command lockaudit audits an existing distributed-lock deployment: it injects
// faults through agents on the nodes, records what happened, and judges the
// record. It needs no root itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lockaudit/lockaudit/inject/all"
	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

// Exit statuses. They are part of the interface: scripts and CI decide on them.
const (
	exitOK           = 0  // no failure, and the wanted grade and coverage reached
	exitFail         = 1  // at least one item fails, or below the wanted grade
	exitInconclusive = 2  // no failure, and not enough was shown
	exitCouldNotRun  = 3  // the audit could not be carried out
	exitFaultRemains = 4  // a fault may still be in effect; outranks all others
	exitUsage        = 64 // the command line is wrong
)

const exitHelp = `Exit status:
  0   no failure, and the wanted grade and coverage reached
  1   at least one item fails that is not waived, or the grade without what is
      waived is below --fail-under
  2   inconclusive: no failure, and not enough was shown
  3   the audit could not be carried out
  4   a fault may still be in effect on a node (outranks all others)
  64  the command line is wrong`

// injectExit is exitHelp for a fault by hand, which has no grade.
const injectExit = `Exit status:
  0   it was injected, and is reverted; with --dry-run: it could be prepared
  3   it was refused, or could not be injected; nothing of it is in effect
  4   the fault may still be in effect (outranks all others)
  64  the command line is wrong`

func main() {
	// Heal on this machine may have to start a server again.
	if status, was := all.StandIn(); was {
		os.Exit(status)
	}
	// The first ctrl-C stops the audit, which reverts everything and keeps the
	// record. The second ends this process at once; the agents then see the end of
	// their input and revert by themselves.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var e exit
	if errors.As(err, &e) && e.err == nil {
		return e.status // the command has said everything itself
	}
	if e.status == exitUsage && hintFor(e.err) == "" {
		e.err = hinted{e.err, "see " + cmd.CommandPath() + " --help"}
	}
	if e.status == 0 { // cobra's own complaints about flags and commands
		e = exit{exitUsage, complaint(cmd, err)}
	}
	printError(stderr, e)
	return e.status
}

// complaint gives cobra's errors the form of ours: one line and a hint.
func complaint(cmd *cobra.Command, err error) error {
	msg, near, found := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if near = strings.Join(strings.Fields(near), ", "); found && near != "" {
		return hinted{errors.New(msg), "did you mean " + near}
	}
	return hinted{err, "see " + cmd.CommandPath() + " --help"}
}

// exit is an error with an exit status.
type exit struct {
	status int
	err    error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lockaudit",
		Short: "Audit a distributed lock by injecting the failures that break it",
		Long: `lockaudit audits an existing distributed-lock deployment. It pauses lock holders
past their lease, cuts them off, kills them, delivers their writes late and skews
their clocks; it parts the lock servers and, where the plan names them, kills and
restarts them or skews their clocks. It records what happens and judges the record
against an operational checklist. Every mark cites the recorded event behind it.

What it acquires, writes, stops or kills is its own: canary keys, canary rows, and
lock clients that it started itself; of the lock servers, only what the plan names.
A cut of a node or of the lock servers hits whatever else talks to them;
lockaudit plan lists every fault before anything is touched. Every fault has a
deadline and ends by itself.`,
		Example: `  lockaudit init redis://10.0.0.1:6379     write a plan by looking at what is there
  lockaudit plan plan.yaml                 what would the audit do?
  lockaudit doctor plan.yaml               can it reach the nodes, and what can it inject?
  lockaudit audit plan.yaml                the audit
  lockaudit audit plan.yaml --fail-under B --min-coverage critical
  lockaudit inspect plan.yaml              look only, change nothing
  lockaudit report runs/2026-11-23T081201Z-billing -f html -o report.html
  lockaudit diff RUN1 RUN2                 what got better, what got worse
  lockaudit inject pause --pid 4711 --for 30s
  sudo lockaudit halt                      revert everything on this machine, now`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		initCommand(), auditCommand(), planCommand(), inspectCommand(), judgeCommand(), reportCommand(), diffCommand(),
		injectCommand(), haltCommand(), resumeCommand(), healCommand(), agentLogCommand(), doctorCommand(), nodesCommand(), pushCommand(), clientCommand(),
		tapCommand(),
	)
	return root
}
