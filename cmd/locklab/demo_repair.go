package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// The labs that differ only in the repair: what fencing changes.
const (
	beforeRepair = "etcd-unfenced"
	afterRepair  = "etcd-fenced"
)

// repair compares the record of the lab without fencing with that of the one with
// it, as an operator does after having repaired a deployment.
func (d *demo) repair(ctx context.Context, all []result) error {
	record := func(name string) string {
		at := slices.IndexFunc(all, func(r result) bool { return r.lab.Name == name && r.err == nil })
		if at < 0 {
			return ""
		}
		return all[at].record
	}
	before, after := record(beforeRepair), record(afterRepair)
	if before == "" || after == "" {
		return nil
	}
	out, notes, exit, err := capture(ctx, d.lockaudit, []string{"diff", before, after}, func(string) {})
	if err != nil {
		return fmt.Errorf("compare records: %w", err)
	}
	if exit > 1 { // 1: something got worse, which the reader is to see
		return fmt.Errorf("compare records: exit status %d: %s", exit, bytes.TrimSpace(notes))
	}
	fmt.Fprintf(d.out, "\n=== the repair: lockaudit diff, %s → %s ===\n\n", beforeRepair, afterRepair)
	if _, err := d.out.Write(out); err != nil {
		return fmt.Errorf("print comparison: %w", err)
	}
	return nil
}
