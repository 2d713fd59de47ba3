package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/spf13/cobra"
)

// printFlags say in which form a report is printed and what is wanted of it.
type printFlags struct {
	format      string
	color       string
	failUnder   string
	minCoverage string
}

func (f *printFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.format, "format", "f", "text", formatNames())
	cmd.Flags().StringVar(&f.color, "color", "auto", "auto, always or never")
}

func (f *printFlags) bindThresholds(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.failUnder, "fail-under", "", "exit 1 if the grade, without what is waived, is below this letter (A, B, C, D)")
	cmd.Flags().StringVar(&f.minCoverage, "min-coverage", "", "exit 2 if less was tested: critical, all, or a number of items")
}

// check refuses bad values before anything is done.
func (f *printFlags) check() error {
	if _, err := findFormat(f.format); err != nil {
		return err
	}
	if err := checkColor(f.color); err != nil {
		return err
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
judges a run that was cut off in the middle, and says what is missing. Of the record
of several locks it judges each.

` + exitHelp,
		Example: `  lockaudit judge runs/2026-11-23T081201Z-billing
  lockaudit judge runs/2026-11-23T081201Z-billing --fail-under B`,
		Args: exactly(1, "RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			status, err := judgeAny(cmd, args[0], f)
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
	var output string
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Print the report of a recorded run, in any format",
		Long: `Prints the report of a run in the format asked for. It judges the record again
and writes nothing but the file named by --output.

  text   for the terminal
  html   one self-contained file for people, with timelines
  md     fits into a pull request comment
  json   for programs (docs/schema/report.schema.json)
  junit  XML for CI: one test case per item

Exit status:
  0   the report was made, whatever it says; lockaudit judge tells
  3   the run could not be read, or the report not be written
  64  the command line is wrong`,
		Example: `  lockaudit report runs/2026-11-23T081201Z-billing -f html -o report.html
  lockaudit report runs/2026-11-23T081201Z-billing -f json | jq .grade`,
		Args: exactly(1, "RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			print, err := reportOf(args[0], f)
			if err != nil {
				return couldNotRun(err)
			}
			if err := printTo(cmd.OutOrStdout(), output, print); err != nil {
				return couldNotRun(err)
			}
			return nil
		},
	}
	f.bind(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write; it is replaced whole (default: stdout)")
	return cmd
}

// printTo prints to stdout, or into a file that is written only once everything
// could be printed.
func printTo(stdout io.Writer, path string, print func(io.Writer) error) error {
	if path == "" || path == "-" {
		return print(stdout)
	}
	var out bytes.Buffer
	if err := print(&out); err != nil {
		return err
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// judge assembles, keeps findings and reports in the run directory, prints, and
// returns the exit status.
func judge(cmd *cobra.Command, dir string, f printFlags) (int, error) {
	wanted, err := f.wanted()
	if err != nil {
		return 0, err
	}
	j, err := assemble(dir, wanted)
	if err != nil {
		return 0, err
	}
	if err := keep(dir, j); err != nil {
		// The run directory may be somebody else's or on a full disk: the
		// verdict does not depend on it.
		printError(cmd.ErrOrStderr(), err)
	}
	return j.status, printReport(cmd.OutOrStdout(), j, f)
}
