package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lockaudit/lockaudit/record"
)

// fullAudit audits the lab of three etcd with a lease of 5 s, every probe, and sets the
// wall time against the sum of the waits that its own record shows to have been
// unavoidable; see wait.
func fullAudit(ctx context.Context, _ int) ([]row, error) {
	dir, err := os.MkdirTemp("", "lockaudit-bench-audit-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	lab := program{ctx: ctx, dir: dir}
	const name = "etcd-fenced"
	if _, err := lab.run("locklab", "up", name); err != nil {
		return nil, err
	}
	defer func() { _, _ = program{ctx: context.WithoutCancel(ctx), dir: dir}.run("locklab", "down", name) }()
	text, err := os.ReadFile(filepath.Join(dir, "labs", name, "plan.yaml"))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "plan.yaml")
	slow := bytes.Replace(text, []byte("ttl: 2s"), []byte("ttl: 5s"), 1)
	if bytes.Equal(slow, text) {
		return nil, errors.New("the lab's plan has no lease of 2 s to change")
	}
	if err := os.WriteFile(path, slow, 0o600); err != nil {
		return nil, err
	}
	runs := filepath.Join(dir, "runs")
	began := time.Now()
	if out, err := lab.run("lockaudit", "audit", path, "--runs", runs, "--trials", "1"); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	wall := time.Since(began)
	found, err := filepath.Glob(filepath.Join(runs, "*-"+name))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("find record: %d of them: %w", len(found), err)
	}
	run, err := record.Load(found[0])
	if err != nil {
		return nil, err
	}
	if run.Manifest.Status != record.Complete || len(run.Damage) > 0 {
		return nil, fmt.Errorf("the audit is %s: %s %q", run.Manifest.Status, run.Manifest.Err, run.Damage)
	}
	total, byKind := covered(waits(run))
	rows := []row{
		{"full audit, lease 5 s: wall over unavoidable waits", "< 1.3", []float64{float64(wall) / float64(total)}, "ratio"},
		{"wall time", "", []float64{wall.Seconds()}, "s"},
		{"unavoidable waits, from the record", "", []float64{total.Seconds()}, "s"},
	}
	for _, kind := range []string{"lease", "notice", "window", "election", "asking", "watch", "recovery"} {
		rows = append(rows, row{"  of these: " + kind, "", []float64{byKind[kind].Seconds()}, "s"})
	}
	for _, p := range run.Manifest.Probes {
		if len(p.Repeats) > 0 {
			rows = append(rows, row{"repeated trials of " + p.Name, "", []float64{float64(len(p.Repeats))}, ""})
		}
	}
	return rows, nil
}

// program runs what make build has built, with directories of its own.
type program struct {
	ctx context.Context
	dir string
}

func (p program) run(name string, args ...string) (string, error) {
	path, err := filepath.Abs(filepath.Join("bin", name))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(p.ctx, path, args...)
	cmd.Env = append(os.Environ(), "LOCKLAB_DIR="+filepath.Join(p.dir, "labs"))
	// ctrl-C: the audit reverts before it ends.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s (built by make build): %w", name, args[0], err)
	}
	return string(out), nil
}
