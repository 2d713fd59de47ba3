package checklist

import (
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/record"
)

// Judge judges every item on a recorded run, in the order of Items.
func Judge(run record.Run) []Finding {
	var out []Finding
	for _, item := range Items() {
		out = append(out, judge(item, run))
	}
	return out
}

// ByID finds an item.
func ByID(id string) (Item, bool) {
	for _, item := range Items() {
		if item.ID == id {
			return item, true
		}
	}
	return Item{}, false
}

// judge is one item's finding, complete. A judge that panics has shown nothing,
// so its item is inconclusive, never passed.
func judge(item Item, run record.Run) (f Finding) {
	defer func() {
		if cause := recover(); cause != nil {
			f = Finding{Tested: true, Summary: fmt.Sprintf("the judge of this item broke down: %v", cause)}
		}
		f.complete(item, run)
	}()
	if item.Judge == nil || !produced(run, item.Probes) && !produced(run, item.Beside) {
		return Finding{Summary: notTested(item, run)}
	}
	f = item.Judge(run)
	f.Tested = produced(run, item.Probes) || f.Outcome != Inconclusive
	return f
}

// complete fills in what does not depend on what was seen.
func (f *Finding) complete(item Item, run record.Run) {
	f.Item, f.Question, f.Why, f.Severity = item.ID, item.Question, item.Why, item.Severity
	if item.Fencing && run.Manifest.Subject.Purpose == efficiency {
		f.Severity, f.Harm = Advice, false
		if f.Outcome == Fail {
			f.Outcome = Warn
			f.Summary += " (advice only: the plan says that this lock saves work and protects no data)"
		}
	}
	if f.Outcome == Warn || f.Outcome == Fail {
		f.Fix = item.fix(run.Manifest.Subject.Backend)
	}
	f.Waiver = waiverOf(item.ID, run.Manifest)
	if item.Judge != nil {
		f.Reproduce = reproduce(run.Manifest, f.shownBy(item.Probes[0]))
	}
}

// shownBy is the probe that showed it, of the several that may; usual where the
// finding cites none.
func (f *Finding) shownBy(usual string) string {
	for _, e := range f.Evidence {
		if e.Probe != "" {
			return e.Probe
		}
	}
	return usual
}

// efficiency is the purpose of a lock that saves work; see plan.Efficiency.
const efficiency = "efficiency"

func (i Item) fix(backend string) string {
	if text, ok := i.Fix[backend]; ok {
		return text
	}
	return i.Fix[""]
}

// inspect is the one passive probe that items read so far.
const inspect = "inspect-deployment"

// produced reports whether any of the probes left something to judge.
func produced(run record.Run, probes []string) bool {
	for _, name := range probes {
		if name == inspect && run.Facts != nil || name != inspect && len(run.Histories[name]) > 0 {
			return true
		}
	}
	return false
}

// notTested says which probe would test the item and, if one of them was part of
// the run, why it did not.
func notTested(item Item, run record.Run) string {
	if item.Judge == nil {
		return "not tested: needs " + strings.Join(item.Probes, ", ") + "; not in this version"
	}
	for _, p := range run.Manifest.Probes {
		for _, name := range item.Probes {
			if p.Name == name && p.Err != "" {
				return fmt.Sprintf("not tested: %s %s: %s", name, p.Status, p.Err)
			}
		}
	}
	return "not tested: needs " + strings.Join(item.Probes, ", ")
}

func reproduce(m record.Manifest, probe string) string {
	plan, seed, lock := m.Subject.Plan, "", ""
	if m.Subject.File != "" {
		lock = " --lock " + m.Subject.Name
	}
	if probe == partServers && m.Seed != 0 {
		seed = fmt.Sprintf(" --seed %d", m.Seed)
	}
	switch {
	case plan == "":
		plan = "PLAN"
	case strings.ContainsAny(plan, " \t\n'\"\\$`&|;<>()*?[]#~!{}"):
		plan = "'" + strings.ReplaceAll(plan, "'", `'\''`) + "'"
	}
	if probe == inspect {
		return "lockaudit inspect " + plan + lock
	}
	return "lockaudit audit " + plan + lock + " --probes " + probe + seed
}
