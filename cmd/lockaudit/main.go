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
  1   at least one item fails, or the grade is below --fail-under
  2   inconclusive: no failure, and not enough was shown
  3   the audit could not be carried out
  4   a fault may still be in effect on a node (outranks all others)
  64  the command line is wrong`

func main() {
	all.StandIn() // heal on this machine may have to start a server again
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
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var e exit
	if errors.As(err, &e) && e.err == nil {
		return e.status // the command has said everything itself
	}
	printError(stderr, err)
	if e.status != 0 {
		return e.status
	}
	return exitUsage // cobra's own complaints about flags and commands
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
		Long: `lockaudit audits an existing distributed-lock deployment. It pauses lock
holders past their lease, kills them and makes them contend, records what
happens, and judges the record against an operational checklist. Every mark
cites the recorded event that stands behind it.

Everything that it acquires, writes or stops is its own: canary keys, canary
rows, and lock clients that it started itself.`,
		Example: `  lockaudit plan plan.yaml                 what would the audit do?
  lockaudit audit plan.yaml                the audit
  lockaudit audit plan.yaml --fail-under B --min-coverage critical
  lockaudit inspect plan.yaml              look only, change nothing
  lockaudit report runs/2026-11-23T081201Z-billing -f html -o report.html
  lockaudit diff RUN1 RUN2                 what got better, what got worse
  lockaudit inject pause --pid 4711 --for 30s`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		auditCommand(), planCommand(), inspectCommand(), judgeCommand(), reportCommand(), diffCommand(),
		injectCommand(), haltCommand(), resumeCommand(), healCommand(), agentLogCommand(), doctorCommand(), clientCommand(),
	)
	return root
}
