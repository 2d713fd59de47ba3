package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/record"
	"github.com/lockaudit/lockaudit/reports"
	"github.com/spf13/cobra"
)

// auditLocks audits the locks of a plan one after another: two at once would share nodes,
// and a failure could not be laid at one's door. A lock that cannot be audited does not
// keep the others from it.
func auditLocks(cmd *cobra.Command, file *plan.File, o audit.Options, f printFlags) error {
	if _, err := schedule(file, o); err != nil {
		return couldNotRun(err)
	}
	var members []record.Member
	for _, p := range file.Locks {
		members = append(members, record.Member{Name: p.Name, Owner: record.Owner(p.Owner)})
	}
	group, err := record.CreateGroup(o.RunsDir, file.Name, o.Tool, members)
	if err != nil {
		return couldNotRun(err)
	}
	o.RunsDir, o.Group = group.Dir(), group.ID
	status := exitOK
	for i, p := range file.Locks {
		fmt.Fprintf(cmd.ErrOrStderr(), "lock %s (%d of %d)\n", p.Name, i+1, len(file.Locks))
		live := newProgress(cmd.ErrOrStderr())
		o.Progress = live.update
		dir, err := audit.Run(cmd.Context(), p, file.Data, o)
		live.stop()
		if err != nil {
			status = worse(status, exitCouldNotRun)
			printError(cmd.ErrOrStderr(), fmt.Errorf("lock %s: %w", p.Name, err))
		}
		if err := group.Audited(i, dir, err); err != nil {
			return couldNotRun(err)
		}
		if dir != "" && residueStatus(dir) == exitFaultRemains || endsAll(cmd.Context(), err) {
			break
		}
	}
	if err := group.Seal(); err != nil {
		return couldNotRun(err)
	}
	judged, err := judgeLocks(cmd, group.Dir(), f)
	if err != nil {
		return couldNotRun(err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "record: %s\n", group.Dir())
	if page := filepath.Join(group.Dir(), "report.html"); exists(page) {
		fmt.Fprintf(cmd.ErrOrStderr(), "report: %s\n", page)
	}
	return finish(worse(status, judged))
}

// endsAll: after this the next lock must not be touched. Somebody stopped the audit, a
// stop condition did, a fault may remain, or what is done can no longer be recorded.
func endsAll(ctx context.Context, err error) bool {
	for _, reason := range []error{audit.ErrInterrupted, audit.ErrStopped, agent.ErrHalted, agent.ErrRevertFailed, probes.ErrRecord} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return ctx.Err() != nil
}

// judgedLocks is the record of several locks with what was made of it.
type judgedLocks struct {
	rollup reports.Rollup
	runs   map[string]judged // by folder
	status int
}

// assembleLocks judges each run of a record of several locks. The status is the worst:
// one lock's good letter does not make up for another's.
func assembleLocks(g *record.Group, wanted checklist.Want) (judgedLocks, error) {
	out := judgedLocks{runs: map[string]judged{}}
	list := make([]*reports.Report, len(g.Locks))
	for i, m := range g.Locks {
		if m.Run == "" {
			out.status = worse(out.status, exitCouldNotRun)
			continue
		}
		j, err := assemble(filepath.Join(g.Dir(), m.Run), wanted)
		if err != nil {
			return out, err
		}
		out.runs[m.Run], list[i] = j, &j.report
		out.status = worse(out.status, j.status)
	}
	out.rollup = reports.NewRollup(*g, list)
	return out, nil
}

// judgeLocks judges, keeps the reports of each lock and of all, and prints that of all.
func judgeLocks(cmd *cobra.Command, dir string, f printFlags) (int, error) {
	wanted, err := f.wanted()
	if err != nil {
		return 0, err
	}
	g, err := record.LoadGroup(dir)
	if err != nil {
		return 0, err
	}
	all, err := assembleLocks(g, wanted)
	if err != nil {
		return 0, err
	}
	if err := keepLocks(dir, all); err != nil {
		printError(cmd.ErrOrStderr(), err) // see judge
	}
	return all.status, printRollup(cmd.OutOrStdout(), all.rollup, f)
}

func keepLocks(dir string, all judgedLocks) error {
	for run, j := range all.runs {
		if err := keep(filepath.Join(dir, run), j); err != nil {
			return err
		}
	}
	for _, f := range formats() {
		var out bytes.Buffer
		if err := f.roll(&out, all.rollup, reports.TextOptions{Width: keepWidth}); err != nil {
			return err
		}
		if err := record.WriteFile(dir, f.file, out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func printRollup(w io.Writer, r reports.Rollup, f printFlags) error {
	form, err := findFormat(f.format)
	if err != nil {
		return err
	}
	return form.roll(w, r, textOptions(w, f.color))
}

// judgeAny judges a run, or the record of several locks.
func judgeAny(cmd *cobra.Command, dir string, f printFlags) (int, error) {
	if _, err := record.LoadGroup(dir); !errors.Is(err, record.ErrNotGroup) {
		return judgeLocks(cmd, dir, f)
	}
	return judge(cmd, dir, f)
}

// reportOf judges a run, or the record of several locks, for printing alone.
func reportOf(dir string, f printFlags) (func(io.Writer) error, error) {
	g, err := record.LoadGroup(dir)
	if errors.Is(err, record.ErrNotGroup) {
		j, err := assemble(dir, checklist.Want{})
		return func(w io.Writer) error { return printReport(w, j, f) }, err
	}
	if err != nil {
		return nil, err
	}
	all, err := assembleLocks(g, checklist.Want{})
	return func(w io.Writer) error { return printRollup(w, all.rollup, f) }, err
}
