package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
	"github.com/lockaudit/lockaudit/reports"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// printFlags say in which form a report is printed and what is wanted of it.
type printFlags struct {
	format      string
	color       string
	failUnder   string
	minCoverage string
}

func (f *printFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.format, "format", "f", "text", "text or json")
	cmd.Flags().StringVar(&f.color, "color", "auto", "auto, always or never")
}

func (f *printFlags) bindThresholds(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.failUnder, "fail-under", "", "exit 1 if the grade is below this letter (A, B, C, D)")
	cmd.Flags().StringVar(&f.minCoverage, "min-coverage", "", "exit 2 if less was tested: critical, all, or a number of items")
}

// check refuses bad values before anything is done.
func (f *printFlags) check() error {
	if f.format != "text" && f.format != "json" {
		return usage("--format %q: text or json", f.format)
	}
	if f.color != "auto" && f.color != "always" && f.color != "never" {
		return usage("--color %q: auto, always or never", f.color)
	}
	if _, err := f.wanted(); err != nil {
		return exit{exitUsage, err}
	}
	return nil
}

func (f *printFlags) wanted() (checklist.Want, error) {
	var w checklist.Want
	if err := w.ParseCoverage(f.minCoverage); err != nil {
		return w, err
	}
	if f.failUnder == "" {
		return w, nil
	}
	letter, err := checklist.ParseLetter(f.failUnder)
	w.Letter = letter
	return w, err
}

func judgeCommand() *cobra.Command {
	var f printFlags
	cmd := &cobra.Command{
		Use:   "judge RUN",
		Short: "Judge a recorded run again",
		Long: `Reads a run directory and judges it, with no network and no privileges. It also
judges a run that was cut off in the middle, and says what is missing.

` + exitHelp,
		Example: `  lockaudit judge runs/2026-11-23T081201Z-billing
  lockaudit judge runs/2026-11-23T081201Z-billing --fail-under B`,
		Args: exactly(1, "RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			status, err := judge(cmd, args[0], f)
			if err != nil {
				return couldNotRun(err)
			}
			if status != exitOK {
				return exit{status: status}
			}
			return nil
		},
	}
	f.bind(cmd)
	f.bindThresholds(cmd)
	return cmd
}

func reportCommand() *cobra.Command {
	var f printFlags
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Print the report of a recorded run",
		Long: `Prints the report of a run in the format asked for. It judges the record again
and writes nothing; the exit status says only whether the report could be made.`,
		Example: `  lockaudit report runs/2026-11-23T081201Z-billing -f json | jq .grade`,
		Args:    exactly(1, "RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			report, _, err := assemble(args[0], checklist.Want{})
			if err != nil {
				return couldNotRun(err)
			}
			if err := printReport(cmd.OutOrStdout(), report, f); err != nil {
				return couldNotRun(err)
			}
			return nil
		},
	}
	f.bind(cmd)
	return cmd
}

// assemble loads a run, judges it, and works out the exit status.
func assemble(dir string, wanted checklist.Want) (reports.Report, int, error) {
	run, err := record.Load(dir)
	if err != nil {
		return reports.Report{}, 0, err
	}
	findings := checklist.Judge(run)
	grade := checklist.GradeOf(findings, run)
	return reports.New(run, findings, grade), checklist.ExitStatus(run, findings, grade, wanted), nil
}

// judge assembles, keeps findings and reports in the run directory, prints, and
// returns the exit status.
func judge(cmd *cobra.Command, dir string, f printFlags) (int, error) {
	wanted, err := f.wanted()
	if err != nil {
		return 0, err
	}
	report, status, err := assemble(dir, wanted)
	if err != nil {
		return 0, err
	}
	if err := keep(dir, report); err != nil {
		// The run directory may be somebody else's or on a full disk: the
		// verdict does not depend on it.
		printError(cmd.ErrOrStderr(), err)
	}
	return status, printReport(cmd.OutOrStdout(), report, f)
}

func keep(dir string, report reports.Report) error {
	findings, err := json.MarshalIndent(report.Findings, "", "  ")
	if err != nil {
		return fmt.Errorf("encode findings: %w", err)
	}
	if err := record.WriteFile(dir, "findings.json", append(findings, '\n')); err != nil {
		return err
	}
	for name, print := range map[string]func(io.Writer) error{
		"report.json": func(w io.Writer) error { return reports.JSON(w, report) },
		"report.txt":  func(w io.Writer) error { return reports.Text(w, report, reports.TextOptions{Width: 100}) },
	} {
		var buf bytes.Buffer
		if err := print(&buf); err != nil {
			return err
		}
		if err := record.WriteFile(dir, name, buf.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func printReport(w io.Writer, report reports.Report, f printFlags) error {
	if f.format == "json" {
		return reports.JSON(w, report)
	}
	o := reports.TextOptions{Width: 100, Color: f.color == "always"}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			o.Width = width
		}
		o.Color = o.Color || (f.color == "auto" && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	} else if n, err := strconv.Atoi(strings.TrimSpace(os.Getenv("COLUMNS"))); err == nil && n > 0 {
		o.Width = n
	}
	return reports.Text(w, report, o)
}
