package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/record"
	"github.com/spf13/cobra"
)

// auditFlags are the flags of audit and inspect.
type auditFlags struct {
	runs   string
	locks  []string
	probes []string
	trials int
	seed   uint64
	print  printFlags
}

func auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit PLAN",
		Short: "Carry out a plan: inject, record, judge, report",
		Long: `Carries out the plan's probes and prints a graded report. The report goes to
stdout, everything else to stderr. The record is kept in a run directory, which
lockaudit judge and lockaudit report read again at any time.

The locks of a plan that has several are audited one after another, and the report
puts them on one page; the exit status is the worst of theirs.

ctrl-C at any moment reverts every fault, looks whether it is gone, and keeps
the record up to then.

` + exitHelp,
		Example: `  lockaudit audit plan.yaml
  lockaudit audit plan.yaml --probes pause-holder-past-ttl --trials 10
  lockaudit audit plan.yaml --probes partition-lock-servers --seed 7
  lockaudit audit plan.yaml --lock billing
  lockaudit audit plan.yaml --fail-under B --min-coverage critical -f json > report.json`,
		Args: exactly(1, "PLAN"),
		RunE: func(cmd *cobra.Command, args []string) error { return runAudit(cmd, args[0], f, false) },
	}
	cmd.Flags().StringVar(&f.runs, "runs", "runs", "directory in which the run directory is made")
	cmd.Flags().StringSliceVar(&f.probes, "probes", nil, "probes to run, by name, as lockaudit plan lists them (default: the plan's)")
	cmd.Flags().IntVar(&f.trials, "trials", 0, "how often each probe is repeated (default: the plan's)")
	bindSeed(cmd, &f.seed)
	bindLocks(cmd, &f.locks)
	f.print.bind(cmd)
	f.print.bindThresholds(cmd)
	return cmd
}

func inspectCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "inspect PLAN",
		Short: "Look only: what the lock service says of itself, no fault, no write",
		Long: `Runs the passive probes of the plan: nothing is acquired, written, paused or
cut. What can be judged from that is judged; the report says which questions
only an audit can answer, and there is no letter.

Exit status:
  0   no failure
  1   at least one item fails
  2   inconclusive: nothing could be judged
  3   the inspection could not be carried out
  4   an agent's end did not confirm that nothing is in effect (outranks all others)
  64  the command line is wrong`,
		Example: `  lockaudit inspect plan.yaml
  lockaudit inspect plan.yaml -f json`,
		Args: exactly(1, "PLAN"),
		RunE: func(cmd *cobra.Command, args []string) error { return runAudit(cmd, args[0], f, true) },
	}
	cmd.Flags().StringVar(&f.runs, "runs", "runs", "directory in which the run directory is made")
	bindLocks(cmd, &f.locks)
	f.print.bind(cmd)
	return cmd
}

func runAudit(cmd *cobra.Command, path string, f auditFlags, passive bool) error {
	if err := f.print.check(); err != nil {
		return err
	}
	if err := checkDraw(cmd, f.trials); err != nil {
		return err
	}
	file, err := loadPlan(path, f.locks...)
	if err != nil {
		return couldNotRun(err)
	}
	o := audit.Options{
		RunsDir: f.runs, PlanPath: path, Tool: version, Probes: f.probes, Trials: f.trials, Seed: f.seed, Passive: passive,
	}
	if len(file.Locks) > 1 || file.Several && len(f.locks) == 0 {
		return auditLocks(cmd, file, o, f.print)
	}
	live := newProgress(cmd.ErrOrStderr())
	o.Progress = live.update
	dir, err := audit.Run(cmd.Context(), file.Locks[0], file.Data, o)
	live.stop()
	if dir == "" {
		return couldNotRun(err)
	}
	status := exitOK
	if err != nil {
		status = exitCouldNotRun
		printError(cmd.ErrOrStderr(), err)
	}
	if err != nil && (errors.Is(err, audit.ErrInterrupted) || errors.Is(err, audit.ErrStopped) || !anythingShown(dir)) {
		fmt.Fprintf(cmd.ErrOrStderr(), "record: %s\n", dir)
		return exit{status: worse(status, residueStatus(dir))}
	}
	judged, err := judge(cmd, dir, f.print)
	if err != nil {
		return couldNotRun(err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "record: %s\n", dir)
	// It is missing if the disk is full, which judge has said already.
	if page := filepath.Join(dir, "report.html"); exists(page) {
		fmt.Fprintf(cmd.ErrOrStderr(), "report: %s\n", page)
	}
	if status = worse(status, judged); status != exitOK {
		return exit{status: status}
	}
	return nil
}

func bindSeed(cmd *cobra.Command, seed *uint64) {
	cmd.Flags().Uint64Var(seed, "seed", 0, "part the lock servers in two random shapes too; the same seed draws the same (default: the plan's, or none)")
}

// checkDraw refuses what --trials and --seed cannot mean.
func checkDraw(cmd *cobra.Command, trials int) error {
	if trials < 0 {
		return usage("--trials %d: at least 1 is needed", trials)
	}
	if f := cmd.Flags().Lookup("seed"); f != nil && f.Changed && f.Value.String() == "0" {
		return usage("--seed 0: a seed is a number from 1 on; leave it out to draw nothing")
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// worse is the exit status that outranks the other: a fault that may remain,
// then what was seen, then what could not be done.
func worse(a, b int) int {
	rank := map[int]int{exitOK: 0, exitInconclusive: 1, exitCouldNotRun: 2, exitFail: 3, exitFaultRemains: 4}
	if rank[a] >= rank[b] {
		return a
	}
	return b
}

// anythingShown reports whether the run has a completed trial: a report without
// one would only repeat the error.
func anythingShown(dir string) bool {
	run, err := record.Load(dir)
	if err != nil {
		return false
	}
	for _, p := range run.Manifest.Probes {
		if p.Completed > 0 {
			return true
		}
	}
	return false
}

func residueStatus(dir string) int {
	if run, err := record.Load(dir); err == nil && len(run.Manifest.Residue) > 0 {
		return exitFaultRemains
	}
	return exitOK
}

// exactly is cobra.ExactArgs with an error that names what is missing.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return exit{exitUsage, hinted{
			fmt.Errorf("%s needs %s, got %d arguments", cmd.CommandPath(), what, len(args)),
			"see " + cmd.CommandPath() + " --help",
		}}
	}
}
