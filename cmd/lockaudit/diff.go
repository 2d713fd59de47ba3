package main

import (
	"io"

	"github.com/lockaudit/lockaudit/checklist"
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
better nor worse.

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
			var sides [2]judged
			for i, dir := range args {
				j, err := assemble(dir, checklist.Want{})
				if err != nil {
					return couldNotRun(err)
				}
				sides[i] = j
			}
			d := reports.Compare(sides[0].report, sides[1].report)
			err := printTo(cmd.OutOrStdout(), output, func(w io.Writer) error {
				if form == "json" {
					return reports.DiffJSON(w, d)
				}
				return reports.DiffText(w, d, textOptions(w, color))
			})
			if err != nil {
				return couldNotRun(err)
			}
			if d.Worse {
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

func checkColor(color string) error {
	if color != "auto" && color != "always" && color != "never" {
		return usage("--color %q: auto, always or never", color)
	}
	return nil
}
