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
	"golang.org/x/term"
)

// judged is a run with what was made of it.
type judged struct {
	run    record.Run
	report reports.Report
	status int // exit status
}

// assemble loads a run, judges it, and works out the exit status.
func assemble(dir string, wanted checklist.Want) (judged, error) {
	run, err := record.Load(dir)
	if err != nil {
		return judged{}, err
	}
	findings := checklist.Judge(run)
	grade := checklist.GradeOf(findings, run)
	return judged{
		run:    run,
		report: reports.New(run, findings, grade),
		status: checklist.ExitStatus(run, findings, grade, wanted),
	}, nil
}

// format is one way to print a judged run.
type format struct {
	name string
	// file is its name in the run directory.
	file  string
	print func(io.Writer, judged, reports.TextOptions) error
	// roll prints several locks on one page.
	roll func(io.Writer, reports.Rollup, reports.TextOptions) error
}

// formats lists every format, the default first.
func formats() []format {
	return []format{
		{"text", "report.txt", func(w io.Writer, j judged, o reports.TextOptions) error { return reports.Text(w, j.report, o) }, reports.RollupText},
		{"html", "report.html", func(w io.Writer, j judged, _ reports.TextOptions) error { return reports.HTML(w, j.report, j.run) }, anyLayout(reports.RollupHTML)},
		{"json", "report.json", func(w io.Writer, j judged, _ reports.TextOptions) error { return reports.JSON(w, j.report) }, anyLayout(reports.RollupJSON)},
		{"md", "report.md", func(w io.Writer, j judged, _ reports.TextOptions) error { return reports.Markdown(w, j.report) }, anyLayout(reports.RollupMarkdown)},
		{"junit", "report.xml", func(w io.Writer, j judged, _ reports.TextOptions) error { return reports.JUnit(w, j.report) }, anyLayout(reports.RollupJUnit)},
	}
}

// anyLayout is a format that is laid out in one way only.
func anyLayout(roll func(io.Writer, reports.Rollup) error) func(io.Writer, reports.Rollup, reports.TextOptions) error {
	return func(w io.Writer, r reports.Rollup, _ reports.TextOptions) error { return roll(w, r) }
}

func formatNames() string {
	var names []string
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func findFormat(name string) (format, error) {
	for _, f := range formats() {
		if f.name == name {
			return f, nil
		}
	}
	return format{}, usage("--format %q: %s", name, formatNames())
}

// keepWidth is the width of the text report in the run directory.
const keepWidth = 100

// keep writes the findings and the report in every format into the run directory.
func keep(dir string, j judged) error {
	findings, err := json.MarshalIndent(j.report.Findings, "", "  ")
	if err != nil {
		return fmt.Errorf("encode findings: %w", err)
	}
	if err := record.WriteFile(dir, "findings.json", append(findings, '\n')); err != nil {
		return err
	}
	for _, f := range formats() {
		var out bytes.Buffer
		if err := f.print(&out, j, reports.TextOptions{Width: keepWidth}); err != nil {
			return err
		}
		if err := record.WriteFile(dir, f.file, out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func printReport(w io.Writer, j judged, f printFlags) error {
	form, err := findFormat(f.format)
	if err != nil {
		return err
	}
	return form.print(w, j, textOptions(w, f.color))
}

// textOptions fit the text to where it goes.
func textOptions(w io.Writer, color string) reports.TextOptions {
	o := reports.TextOptions{Width: keepWidth, Color: color == "always"}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			o.Width = width
		}
		o.Color = o.Color || (color == "auto" && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	} else if n, err := strconv.Atoi(strings.TrimSpace(os.Getenv("COLUMNS"))); err == nil && n > 0 {
		o.Width = n
	}
	return o
}
