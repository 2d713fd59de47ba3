package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/checklist"
	locks "github.com/lockaudit/lockaudit/locks/all"
	"github.com/lockaudit/lockaudit/plan"
	resources "github.com/lockaudit/lockaudit/resources/all"
	"github.com/spf13/cobra"
)

// loadPlan reads the plan of an audit, of all its locks or of those named. What the
// built-in lock client cannot do is refused here, before any node is asked: package plan
// does not know the drivers. A client of the user's own may know other backends. Halt and
// heal do not come by here: they need the nodes alone.
func loadPlan(path string, only ...string) (*plan.File, error) {
	f, err := plan.LoadFile(path)
	if err != nil {
		return nil, err
	}
	for _, p := range f.Locks {
		if err := usable(path, p); err != nil {
			return nil, err
		}
	}
	if len(only) == 0 {
		return f, nil
	}
	var chosen []*plan.Plan
	for _, name := range only {
		at := slices.IndexFunc(f.Locks, func(p *plan.Plan) bool { return p.Name == name })
		if at < 0 {
			return nil, unknownLock(f, name)
		}
		chosen = append(chosen, f.Locks[at])
	}
	f.Locks = chosen
	return f, nil
}

// loadOne reads a plan for a command that is about one lock.
func loadOne(path string, only []string) (*plan.Plan, error) {
	f, err := loadPlan(path, only...)
	if err != nil {
		return nil, err
	}
	if len(f.Locks) > 1 {
		return nil, exit{exitUsage, hinted{fmt.Errorf("read plan %s: it has %d locks, and one is needed", path, len(f.Locks)), "--lock " + f.Locks[0].Name + ", for example"}}
	}
	return f.Locks[0], nil
}

func unknownLock(f *plan.File, name string) error {
	var names []string
	for _, p := range f.Locks {
		names = append(names, p.Name)
	}
	hint := "it has " + strings.Join(names, ", ")
	if near := plan.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return exit{exitUsage, hinted{fmt.Errorf("--lock %s: the plan has no such lock", name), hint}}
}

// bindLocks: --lock names some of a plan's locks.
func bindLocks(cmd *cobra.Command, names *[]string) {
	cmd.Flags().StringSliceVar(names, "lock", nil, "of a plan with several locks only these, by name")
}

func usable(path string, p *plan.Plan) error {
	if err := knownItems(path, p.Waivers); err != nil {
		return err
	}
	if _, err := audit.Alerts(p, path); err != nil {
		return fmt.Errorf("read plan %s: signals.rules: %w", path, err)
	}
	if p.Clients.Own() {
		return nil
	}
	if !slices.Contains(backendNames(), p.Lock.Backend) {
		return unknownKind(path, "lock.backend", p.Lock.Backend, backendNames())
	}
	if r := p.Resource; r != nil && !slices.Contains(resourceNames(), r.Kind) {
		return unknownKind(path, "resource.kind", r.Kind, resourceNames())
	}
	return nil
}

// knownItems: a waiver of an item that does not exist would cover nothing, unnoticed.
func knownItems(path string, waivers []plan.Waiver) error {
	var ids []string
	for _, item := range checklist.Items() {
		ids = append(ids, item.ID)
	}
	for _, w := range waivers {
		if slices.Contains(ids, w.Item) {
			continue
		}
		hint := "docs/checklist.md lists the items"
		if near := plan.Nearest(w.Item, ids); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return hinted{fmt.Errorf("read plan %s: waivers: unknown item %q", path, w.Item), hint}
	}
	return nil
}

func unknownKind(path, key, value string, known []string) error {
	return hinted{
		fmt.Errorf("read plan %s: %s %q is unknown", path, key, value),
		fmt.Sprintf("known are %s; a lock client of your own (clients: {exec: […]}) may know others", strings.Join(known, ", ")),
	}
}

func backendNames() []string {
	var out []string
	for _, d := range locks.Drivers() {
		out = append(out, d.Name())
	}
	return out
}

func resourceNames() []string {
	var out []string
	for _, k := range resources.Kinds() {
		out = append(out, k.Name())
	}
	return out
}
