package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
	locks "github.com/lockaudit/lockaudit/locks/all"
	"github.com/lockaudit/lockaudit/plan"
	resources "github.com/lockaudit/lockaudit/resources/all"
)

// loadPlan reads the plan of an audit. What the built-in lock client cannot do is
// refused here, before any node is asked: package plan does not know the drivers. A
// client of the user's own may know other backends. Halt and heal do not come by here:
// they need the nodes alone.
func loadPlan(path string) (*plan.Plan, []byte, error) {
	p, data, err := plan.Load(path)
	if err != nil {
		return nil, nil, err
	}
	if err := knownItems(path, p.Waivers); err != nil {
		return nil, nil, err
	}
	if p.Clients.Own() {
		return p, data, nil
	}
	if !slices.Contains(backendNames(), p.Lock.Backend) {
		return nil, nil, unknownKind(path, "lock.backend", p.Lock.Backend, backendNames())
	}
	if r := p.Resource; r != nil && !slices.Contains(resourceNames(), r.Kind) {
		return nil, nil, unknownKind(path, "resource.kind", r.Kind, resourceNames())
	}
	return p, data, nil
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
