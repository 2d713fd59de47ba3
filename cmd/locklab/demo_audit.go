package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/lab"
)

// revertGrace is how long an audit may take to revert its faults after ctrl-C.
const revertGrace = 30 * time.Second

// result is what became of one lab.
type result struct {
	lab    lab.Lab
	report []byte // as lockaudit printed it
	notes  []byte // its stderr
	letter string // the grade, empty if there is none
	record string // the run directory
	exit   int
	err    error
}

// audit raises the lab, audits it and takes it down again if it was not up before.
func (d *demo) audit(ctx context.Context, l lab.Lab, step func(string)) (r result) {
	r.lab = l
	plan, fresh, err := lab.Up(ctx, l, lab.UpOptions{Base: d.base, MaxAge: demoAge, Progress: step})
	if err != nil {
		r.err = err
		return r
	}
	if fresh {
		defer func() {
			step("going down")
			_, err := down(ctx, d.base, l)
			r.err = errors.Join(r.err, err)
			step("done")
		}()
	}
	step("audit")
	args := []string{"audit", plan, "--runs", d.runs, "--format", "text"}
	if d.trials > 0 {
		args = append(args, "--trials", strconv.Itoa(d.trials))
	}
	r.report, r.notes, r.exit, r.err = capture(ctx, d.lockaudit, args, step)
	if r.err == nil {
		r.record, r.letter, r.err = gradeOf(r.notes)
	}
	return r
}

// capture runs a program, calls line with each line of its stderr, and returns
// all that it printed. When ctx ends the program is interrupted and gets time to
// revert what it did.
func capture(ctx context.Context, program string, args []string, line func(string)) (out, notes []byte, exit int, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout = &stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = revertGrace
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, nil, 0, fmt.Errorf("start %s: %w", program, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, 0, fmt.Errorf("start %s: %w", program, err)
	}
	lines := bufio.NewScanner(io.TeeReader(pipe, &stderr))
	for lines.Scan() {
		line(lines.Text())
	}
	// A line that is too long for the scanner must not block the program.
	_, _ = io.Copy(&stderr, pipe)
	err = cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Exited() {
		return stdout.Bytes(), stderr.Bytes(), ended.ExitCode(), ctx.Err()
	}
	return stdout.Bytes(), stderr.Bytes(), 0, err
}

// gradeOf reads the grade from the record that lockaudit's last "record:" line
// names. A run that has no letter, because nothing could be judged, has none.
func gradeOf(notes []byte) (dir, letter string, err error) {
	for _, l := range strings.Split(string(notes), "\n") {
		if rest, ok := strings.CutPrefix(l, "record: "); ok {
			dir = strings.TrimSpace(rest)
		}
	}
	if dir == "" {
		return "", "", errors.New("read grade: lockaudit named no record")
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return "", "", fmt.Errorf("read grade: %w", err)
	}
	var report struct {
		Grade struct {
			Letter string `json:"letter"`
		} `json:"grade"`
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return "", "", fmt.Errorf("read grade: %w", err)
	}
	return dir, report.Grade.Letter, nil
}

// print prints the lab's report, or why there is none.
func (r result) print(out, notes io.Writer) {
	fmt.Fprintf(out, "\n=== %s: %s ===\n\n", r.lab.Name, r.lab.Teaches)
	// If stdout is gone there is nowhere to say so; the exit status remains.
	_, _ = out.Write(r.report)
	if r.err != nil || len(r.report) == 0 {
		_, _ = notes.Write(r.notes)
	}
	if r.err != nil {
		report(notes, nil, r.err)
	}
}
