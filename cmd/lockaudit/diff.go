package main

import (
	"errors"
	"io"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
	"github.com/lockaudit/lockaudit/reports"
	"github.com/spf13/cobra"
)

func diffCommand() *cobra.Command {
	var form, color, output string
	cmd := &cobra.Command{
		Use:   "diff RUN1 RUN2",
		Short: "Compare two recorded runs: what got worse, what got better",
		Long: `Judges both runs again and compares them item by item, the earlier run first.
An item that has a verdict in only one of them is new or gone, which is neither
better nor worse. The records of several locks are compared lock by lock.

Exit status:
  0   nothing got worse
  1   an item or the letter got worse
  3   a run could not be read
  64  the command line is wrong`,
		Example: `  lockaudit diff runs/2026-11-23T081201Z-billing runs/2026-12-01T081444Z-billing
  lockaudit diff RUN1 RUN2 -f json | jq '.items[] | select(.change == "worse")'`,
		Args: exactly(2, "RUN1 and RUN2"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if form != "text" && form != "json" {
				return usage("--format %q: text or json", form)
			}
			if err := checkColor(color); err != nil {
				return err
			}
			worse, print, err := compare(args[0], args[1], form, color)
			if err == nil {
				err = printTo(cmd.OutOrStdout(), output, print)
			}
			if err != nil {
				return couldNotRun(err)
			}
			if worse {
				return exit{status: exitFail}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&form, "format", "f", "text", "text or json")
	cmd.Flags().StringVar(&color, "color", "auto", "auto, always or never")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write (default: stdout)")
	return cmd
}

// compare compares two runs, or two records of several locks.
func compare(old, now, form, color string) (worse bool, print func(io.Writer) error, err error) {
	groups := 0
	for _, dir := range []string{old, now} {
		if _, err := record.LoadGroup(dir); !errors.Is(err, record.ErrNotGroup) {
			groups++
		}
	}
	switch groups {
	case 1:
		return false, nil, hinted{errors.New("compare runs: one is the record of several locks, and one is a run"), "compare with one of the folders in the record of several locks"}
	case 2:
		return compareLocks(old, now, form, color)
	}
	var sides [2]judged
	for i, dir := range []string{old, now} {
		if sides[i], err = assemble(dir, checklist.Want{}); err != nil {
			return false, nil, err
		}
	}
	d := reports.Compare(sides[0].report, sides[1].report)
	return d.Worse, func(w io.Writer) error {
		if form == "json" {
			return reports.DiffJSON(w, d)
		}
		return reports.DiffText(w, d, textOptions(w, color))
	}, nil
}

func compareLocks(old, now, form, color string) (worse bool, print func(io.Writer) error, err error) {
	var sides [2]judgedLocks
	for i, dir := range []string{old, now} {
		g, err := record.LoadGroup(dir)
		if err != nil {
			return false, nil, err
		}
		if sides[i], err = assembleLocks(g, checklist.Want{}); err != nil {
			return false, nil, err
		}
	}
	d := reports.CompareRollups(sides[0].rollup, sides[1].rollup)
	return d.Worse, func(w io.Writer) error {
		if form == "json" {
			return reports.RollupDiffJSON(w, d)
		}
		return reports.RollupDiffText(w, d, textOptions(w, color))
	}, nil
}

func checkColor(color string) error {
	if color != "auto" && color != "always" && color != "never" {
		return usage("--color %q: auto, always or never", color)
	}
	return nil
}
